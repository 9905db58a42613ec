"""Where units of work run: local processes or a cluster, behind one interface."""
