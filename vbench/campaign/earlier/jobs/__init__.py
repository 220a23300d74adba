"""The package that held the jobs in earlier builds."""
