"""Nobody pays for the programs of others: importing the room loads none of them."""

import subprocess
import sys

OTHERS = ("transformers", "lightning", "ray", "torch", "wandb", "mlflow")


def test_the_room_loads_no_trainer():
    command = "import eigenflow.integrations, sys; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout
    assert "eigenflow.integrations" in loaded
    assert not [name for name in OTHERS if f"'{name}'" in loaded]
