"""A probe set whose samples are spread over processes, by `torch.distributed`.

Every process holds the whole network and a part of the samples. A row over all outputs is the parts of the processes
one after another, in the order of their ranks. Products meet in the space of parameters: with J_r the rows of
process r,

    M v = J P^(-1) (sum_r J_r' v_r)        one all-reduce of P numbers for each vector,

and inner products of rows are summed. Solvers then take the same decisions everywhere, because they see the same
numbers everywhere: all calls here and on what is made from it are collective, in the same order on all processes.
"""

from eigenflow.tangent.sharded.probe import ShardedProbe as ShardedProbe
from eigenflow.tangent.sharded.products import ShardedJacobian as ShardedJacobian
from eigenflow.tangent.sharded.space import ShardedSpace as ShardedSpace
