"""Many runs together: replicates pooled, their verdicts, one table and one page."""
