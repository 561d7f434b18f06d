"""The corpus plugin `huggingface`, which reads a data set from the Hugging Face Hub or a local folder as documents."""
