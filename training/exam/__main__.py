"""`python -m training.exam` is the exam."""

from training.exam.command import main

if __name__ == "__main__":
    main()
