"""Two nodes of Ray, of one CPU each, on this machine: their address is printed; what is read has the second node killed or begun anew.

In a process of its own, since Ray changes the one that it begins in.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.2"}


def main() -> None:
    nodes = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        more = nodes.add_node(**NODE)
        print(nodes.address, flush=True)
        for line in sys.stdin:
            if line == "kill\n":
                nodes.remove_node(more, allow_graceful=False)
            else:
                more = nodes.add_node(**NODE)
            print(line, end="", flush=True)
    finally:
        nodes.shutdown()


if __name__ == "__main__":
    main()
