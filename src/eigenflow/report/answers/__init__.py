"""What a reader asks of a run first, each answered in a headline and a sentence or two, with the numbers behind it."""

from eigenflow.report.answers.advice import Advice, advice
from eigenflow.report.answers.next import Next, what_next
from eigenflow.report.answers.questions import Answer, answers
from eigenflow.report.answers.trend import Trend, last_trend

__all__ = ["Advice", "Answer", "Next", "Trend", "advice", "answers", "last_trend", "what_next"]
