"""What makes the pages: each module writes or rewrites one kind of them; no network, no notebook is run."""
