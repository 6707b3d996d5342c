"""The verbs of the command line: each a record whose fields are its options and whose `run` delegates at once.

What a verb needs is imported when it runs, so that `tierenv --help` answers at once.
"""

from typing import Annotated

from tyro.conf import subcommand

from tierenv.train.verbs.bench import Bench
from tierenv.train.verbs.calibrate import Calibrate
from tierenv.train.verbs.distil import Distil
from tierenv.train.verbs.evaluate import Evaluate
from tierenv.train.verbs.export import Export, export_description
from tierenv.train.verbs.fidelity import Fidelity
from tierenv.train.verbs.import_ import Import
from tierenv.train.verbs.init import Init
from tierenv.train.verbs.list import List
from tierenv.train.verbs.platform import Platform
from tierenv.train.verbs.replay import Replay
from tierenv.train.verbs.report import Report
from tierenv.train.verbs.sweep import Sweep
from tierenv.train.verbs.train import Train
from tierenv.train.verbs.tune import Tune

Verb = (
    Annotated[Init, subcommand("init")]
    | Annotated[Platform, subcommand("platform")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Calibrate, subcommand("calibrate")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Tune, subcommand("tune")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Sweep, subcommand("sweep")]
    | Annotated[Distil, subcommand("distil")]
    | Annotated[Export, subcommand("export", description=export_description())]
    | Annotated[Replay, subcommand("replay")]
    | Annotated[Fidelity, subcommand("fidelity")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[List, subcommand("list")]
)
"""In the order in which help shows them."""
