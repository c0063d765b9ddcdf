"""`python -m preempt` is `preempt`."""

from preempt.cli import main

main()
