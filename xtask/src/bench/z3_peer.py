"""The same questions put to Z3 (PyPI: z3-solver), for comparison: `python3 z3_peer.py check|audit FILE.csv [COUNT]`.

A rule is a line `in,source,length,destination,protocol,low,high,verdict`; the first match decides and the default is to drop.
`check` asks COUNT intents (the first rules' own boxes: does every packet meet the rule's verdict?), `audit` asks of each
rule whether a packet reaches it. Prints the seconds that solving took and how many answers were yes.
"""

import csv
import ipaddress
import sys
import time

import z3


def read(path):
    with open(path, newline="") as file:
        for line in csv.reader(file):
            interface, source, length, destination, protocol, low, high, verdict = line
            yield (
                interface,
                int(ipaddress.ip_address(source)) if source else None,
                int(length),
                int(ipaddress.ip_address(destination)) if destination else None,
                int(protocol),
                int(low),
                int(high),
                verdict == "accept",
            )


class Packet:
    def __init__(self):
        self.interface = z3.BitVec("interface", 8)
        self.source = z3.BitVec("source", 32)
        self.destination = z3.BitVec("destination", 32)
        self.protocol = z3.BitVec("protocol", 8)
        self.port = z3.BitVec("port", 16)
        self.interfaces = {}

    def meets(self, rule):
        interface, source, length, destination, protocol, low, high, _ = rule
        parts = [self.protocol == protocol, z3.ULE(low, self.port), z3.ULE(self.port, high)]
        if interface:
            number = self.interfaces.setdefault(interface, len(self.interfaces) + 1)
            parts.append(self.interface == number)
        if source is not None and length > 0:
            parts.append(z3.Extract(31, 32 - length, self.source) == source >> (32 - length))
        if destination is not None:
            parts.append(self.destination == destination)
        return z3.And(parts)


def check(rules, count):
    packet = Packet()
    accepted = z3.BoolVal(False)
    for rule in reversed(rules):
        accepted = z3.If(packet.meets(rule), z3.BoolVal(rule[-1]), accepted)
    solver = z3.SolverFor("QF_BV")
    solver.add(z3.Bool("accepted") == accepted)
    holds = 0
    step = max(1, len(rules) // count)
    for rule in rules[::step][:count]:
        solver.push()
        wanted = z3.Bool("accepted") if not rule[-1] else z3.Not(z3.Bool("accepted"))
        solver.add(packet.meets(rule), wanted)
        holds += solver.check() == z3.unsat
        solver.pop()
    return holds


def audit(rules):
    packet = Packet()
    solver = z3.SolverFor("QF_BV")
    reached = 0
    for rule in rules:
        meets = packet.meets(rule)
        solver.push()
        solver.add(meets)
        reached += solver.check() == z3.sat
        solver.pop()
        solver.add(z3.Not(meets))
    return reached


def main():
    rules = list(read(sys.argv[2]))
    start = time.perf_counter()
    answer = check(rules, int(sys.argv[3])) if sys.argv[1] == "check" else audit(rules)
    print(f"{time.perf_counter() - start:.3f} s, {answer} yes")


main()
