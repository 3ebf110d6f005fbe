"""What a run found, for people and for programs: summary, figures, HTML. No torch."""

from eigenflow.report.html import write_report as write_report
from eigenflow.report.summary import Analysis as Analysis
from eigenflow.report.summary import analyse as analyse
