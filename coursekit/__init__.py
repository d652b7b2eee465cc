"""What makes, executes and proves the lessons of the course; ``medlib`` knows nothing of it."""
