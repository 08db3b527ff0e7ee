"""Scripts that measure, each against something run beside it, and what they measured."""
