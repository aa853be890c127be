"""hpgr: from an event log to recommendations, with sessions as first-class data."""

__version__ = "0.1.0"
