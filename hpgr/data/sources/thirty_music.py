"""30Music: plays of songs with the service's own sessions. Turrin et al., RecSys 2015 posters.

Only the normalised layout is read, with ``session_id``; the distributed archive is not.
Terms: collected through the Last.fm API, for research, non-commercial; no redistribution.
"""

from __future__ import annotations

from pathlib import Path

from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import GivenSessions
from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import INTERACTIONS, parquet

_HOME = "http://recsys.deib.polimi.it/datasets/"


@SOURCES.register("thirty_music")
def thirty_music(folder: Path) -> Source:
    """Every play, repeats included. Songs are anonymous, so there is no table of items."""
    plays = parquet(folder, INTERACTIONS, _HOME).select("user_id", "item_id", "timestamp", "session_id")
    return Source(
        log=EventLog.read(plays, time_unit="s", name=str(folder)),
        items=None,
        build={"sessions": GivenSessions(), "ties": "set", "history": HistoryRule()},
    )
