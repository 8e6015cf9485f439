"""How measurements get in and what becomes of them: submitting, vetting, deciding, withdrawing, restoring, purging."""
