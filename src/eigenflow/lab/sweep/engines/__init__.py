"""Where runs are made. One engine a module; what they carry is a function of one value that pickles."""

from eigenflow.lab.sweep.engines.choosing import make_engine as make_engine
from eigenflow.lab.sweep.engines.engine import AbstractEngine as AbstractEngine
from eigenflow.lab.sweep.engines.engine import Lost as Lost
