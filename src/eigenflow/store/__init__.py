"""The run folder: recorded so that a kill loses nothing committed, read while it grows. No torch."""

from eigenflow.store.accepting import accept_run as accept_run
from eigenflow.store.claiming import claim_folder as claim_folder
from eigenflow.store.exporting import Exported as Exported
from eigenflow.store.exporting import export_run as export_run
from eigenflow.store.run import Run as Run
from eigenflow.store.run import open_run as open_run
from eigenflow.store.schema import SCHEMA_VERSION as SCHEMA_VERSION
from eigenflow.store.schema import Gap as Gap
from eigenflow.store.schema import RecordGapWarning as RecordGapWarning
from eigenflow.store.schema import RunFolderWarning as RunFolderWarning
from eigenflow.store.schema import Status as Status
from eigenflow.store.schema import Variable as Variable
from eigenflow.store.size import RecordSize as RecordSize
from eigenflow.store.size import record_size as record_size
from eigenflow.store.writer import RunWriter as RunWriter
