"""The corpus plugin `huggingface`: rows of a data set on the Hugging Face Hub, or in a local folder, as documents."""
