"""Sequence files that well-known papers published with their code: order only, no times, items as bare numbers.

Reads one file of a folder that keeps them by project, as they are or packed by gzip. Reviews of Amazon (2014, users and items
with five or more) for Beauty, Toys and Video: McAuley et al., SIGIR 2015. Terms: research use; those of each data set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from hpgr.core.errors import ConfigError
from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import found, list_lines, of_order, pair_lines

File = Literal["bert4rec-beauty", "s3rec-beauty", "s3rec-toys", "s3rec-lastfm", "sasrec-video", "sasrec-wikipedia"]
# BERT4Rec: Sun et al., CIKM 2019. S3-Rec: Zhou et al., CIKM 2020. SASRec: Kang & McAuley, ICDM 2018, as kept by its PyTorch port.
_FILES = {
    "bert4rec-beauty": ("bert4rec/beauty.txt", pair_lines, "FeiSun/BERT4Rec"),
    "s3rec-beauty": ("s3rec/Beauty.txt", list_lines, "RUCAIBox/CIKM2020-S3Rec"),
    "s3rec-toys": ("s3rec/Toys_and_Games.txt", list_lines, "RUCAIBox/CIKM2020-S3Rec"),
    "s3rec-lastfm": ("s3rec/LastFM.txt", list_lines, "RUCAIBox/CIKM2020-S3Rec"),
    "sasrec-video": ("sasrec/Video.txt", pair_lines, "pmixer/SASRec.pytorch"),
    "sasrec-wikipedia": ("sasrec/wikipedia.txt", pair_lines, "pmixer/SASRec.pytorch"),
}


@SOURCES.register("published_sequences")
def published_sequences(folder: Path, file: File = "bert4rec-beauty") -> Source:
    """The users' sequences of one ``file``; its numbers of users and items are the ids.

    Raises: ConfigError if ``file`` is none of those known.
    """
    if file not in get_args(File):
        raise ConfigError(f"file ({file}) must be one of {', '.join(get_args(File))}")
    path, lines, project = _FILES[file]
    place = found(folder, [f"{path}*"], f"https://github.com/{project}")[0]
    return of_order(lines(place), name=str(place))
