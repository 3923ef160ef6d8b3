"""What an operator does from the command line beside the running processes."""
