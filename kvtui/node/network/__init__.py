"""Networks of launchers on one node: CNI gives the pod its NICs, bindings carry them to the guest.

        guest ── tap ── node bridge ── veth │ pod bridge (k6t-eth0) ── NAT or bridging ── eth0 │ ── CNI network
                        (node namespace)    │            (pod network namespace)              │

Around them are the node's rules for Services and policies (`dataplane`), of pure parts (`services`, `policies`,
`ruleset`).

Source: kubevirt pkg/network (names, bindings), https://www.cni.dev/docs/spec/.
"""
