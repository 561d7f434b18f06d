"""The training code behind the trainers `full` and `lora`."""
