"""Where a watched run is read from: a growing run folder, or a growing log of any kind."""

from eigenflow.report.live.sources.choosing import ChosenSource as ChosenSource
from eigenflow.report.live.sources.look import Look as Look
from eigenflow.report.live.sources.look import Measured as Measured
from eigenflow.report.live.sources.look import Row as Row
from eigenflow.report.live.sources.look import Source as Source
