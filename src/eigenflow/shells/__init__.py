"""Modes gathered into logarithmic shells: energies and their exact budget. No torch."""

from eigenflow.shells.balance import IntegratedBalance as IntegratedBalance
from eigenflow.shells.balance import integrated_balance as integrated_balance
from eigenflow.shells.budget import ShellBudget as ShellBudget
from eigenflow.shells.budget import shell_budget as shell_budget
from eigenflow.shells.energies import ShellEnergies as ShellEnergies
from eigenflow.shells.energies import ShellTail as ShellTail
from eigenflow.shells.energies import shell_energies as shell_energies
