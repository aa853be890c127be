"""The page that shows why: what it is told over HTTP, its files, and the same page as one file with its data inside."""
