"""overload_measure: an honest client beside an attack; for overload.py (the test) and bench/overload.py."""
import multiprocessing
import threading
import time

import attack
import box

LIMIT = 256 << 20


def honest(address, end, out):
    client = attack.Honest(address)
    try:
        while not end.is_set():
            client.turn()
        out.put((client.turns_ms, ""))
    except Exception as why:
        out.put((client.turns_ms, f"{type(why).__name__}: {why}"))


def prepare(server):
    """The honest client's topic, and 64 MiB to read slowly."""
    server.longest = LIMIT // 4 // 4 * 3 - 1000
    attack.bomb_requests()
    attack.create(server.kafka, "honest")
    attack.create(server.kafka, "big")
    value = attack.batch(b"v" * 900_000)
    with attack.dial(server.kafka) as s:
        for _ in range(70):
            s.sendall(attack.produce("big", value))
            code, _ = attack.produce_code(attack.read_frame(s))
            assert code == 0, code


def measure(server, name, seconds):
    """Turns of the honest client while `name` goes on (None: while nothing does); what the attack says; the memory."""
    stop, end, out = threading.Event(), multiprocessing.Event(), multiprocessing.Queue()
    said = [""]

    def attacker():
        try:
            said[0] = attack.ATTACKS[name](server, stop)
        except Exception as why:
            said[0] = f"the attack ended: {type(why).__name__}: {why}"
    thread = threading.Thread(target=attacker)
    with box.Watch(server.pid) as watch:
        if name:
            thread.start()
            time.sleep(0.3)
        client = multiprocessing.Process(target=honest, args=(server.kafka, end, out))
        client.start()
        time.sleep(seconds)
        end.set()
        turns, problem = out.get(timeout=60)
        client.join()
        stop.set()
        if name:
            thread.join(60)
    return turns, problem, said[0], watch.most
