"""A run watched while it goes on: a report that is written again and again, and a page that a small server keeps."""

from eigenflow.report.live.following import follow_report as follow_report
