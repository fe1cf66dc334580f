"""`python -m customer360.serve.cli`, for jobs and child processes."""

from customer360.serve.cli import main

main()
