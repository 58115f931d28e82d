#!/usr/bin/env python3
"""A second verifier, written from docs/PROTOCOL.md with nothing but the standard library; it runs the cases beside it."""

import hashlib
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ZERO = bytes(32)


class Refused(Exception):
    """A rule is broken; the text is the rule's name."""


def require(holds, rule):
    if not holds:
        raise Refused(rule)


# 2. Encoding

def u32(n):
    return n.to_bytes(4, "little")


def u64(n):
    return n.to_bytes(8, "little")


class Reader:
    """Reads the fields of one encoding."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        require(self.at + n <= len(self.data), "Malformed")
        self.at += n
        return self.data[self.at - n:self.at]

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def u64(self):
        return int.from_bytes(self.take(8), "little")

    def var_bytes(self):
        return self.take(self.u64())

    def text(self):
        try:
            return self.var_bytes().decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("Malformed") from None

    def items(self, item):
        count = self.u64()
        require(count <= len(self.data) - self.at, "Malformed")
        return [item() for _ in range(count)]

    def optional(self, item):
        present = self.take(1)[0]
        require(present <= 1, "Malformed")
        return item() if present else None


def read_header(r):
    names = [("version", r.u32), ("prev_hash", lambda: r.take(32)), ("state_root", lambda: r.take(32)),
             ("tx_root", lambda: r.take(32)), ("time", r.u64), ("bits", r.u32), ("nonce", r.u32)]
    return {name: read() for name, read in names}


def read_transaction(r):
    start = r.at
    names = [("from", lambda: r.take(32)), ("to", lambda: r.take(32)), ("amount", r.u64), ("fee", r.u64),
             ("nonce", r.u64), ("memo", r.var_bytes)]
    fields = {name: read() for name, read in names}
    fields["body"] = r.data[start:r.at]
    fields["signature"] = r.take(64)
    fields["bytes"] = r.data[start:r.at]
    return fields


def read_body(r):
    return {"reward_to": r.take(32), "transactions": r.items(lambda: read_transaction(r))}


def read_block(r):
    start = r.at
    header = read_header(r)
    header["bytes"] = r.data[start:r.at]
    return {"header": header, "body": read_body(r)}


def read_params(r):
    params = {"name": r.text(), "kind": r.u32()}
    require(params["kind"] <= 2, "Malformed")
    for name in ["time", "interval", "response", "max_future"]:
        params[name] = r.u64()
    params["pow_limit"], params["bits"] = r.u32(), r.u32()
    for name in ["subsidy", "halving_interval", "maturity", "max_block_bytes", "account_reserve"]:
        params[name] = r.u64()
    params["address_prefix"] = r.text()
    params["allocations"] = r.items(lambda: (r.take(32), r.u64()))
    return params


def read_account(r):
    return {"balance": r.u64(), "nonce": r.u64()}


def read_reward(r):
    return {"to": r.take(32), "amount": r.u64()}


def read_leaf(r):
    kind = r.u32()
    require(kind <= 2, "Malformed")
    return kind, r.take([16, 40, 32][kind])


def read_state_proof(r):
    siblings = r.items(lambda: r.optional(lambda: r.take(32)))
    return {"siblings": siblings, "terminal": r.optional(lambda: (r.take(32), read_leaf(r)))}


def read_path(r):
    return r.items(lambda: r.take(32))


CAPS = {
    "header": (116, read_header),
    "transaction": (416, read_transaction),
    "block": (16777216, read_block),
    "body": (16777100, read_body),
    "params": (16777216, read_params),
    "account": (16, read_account),
    "reward": (40, read_reward),
    "state-proof": (8533, read_state_proof),
    "history-proof": (2056, read_path),
    "ancestor-proof": (10589, lambda r: (read_state_proof(r), read_path(r))),
}


def decode(kind, data, cap=None):
    own, read = CAPS[kind]
    require(len(data) <= (cap or own), "TooLong")
    reader = Reader(data)
    value = read(reader)
    require(reader.at == len(data), "Trailing")
    return value


# 3. Hashes

def sha256(data):
    return hashlib.sha256(data).digest()


def tagged(tag, data):
    digest = sha256(("drystone/" + tag).encode())
    return sha256(digest + digest + data)


def block_hash(header):
    return sha256(sha256(header))


def printed(block_hash_bytes):
    return block_hash_bytes[::-1].hex()


# 4. Proof of work

def expand(bits):
    exponent, mantissa = bits >> 24, bits & 0x7FFFFF
    require(not bits & 0x800000, "Negative")
    target = mantissa << 8 * (exponent - 3) if exponent > 3 else mantissa >> 8 * (3 - exponent)
    require(target < 1 << 256, "Overflow")
    require(target > 0, "Zero")
    return target


def compact(target):
    size = (target.bit_length() + 7) // 8
    mantissa = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if mantissa & 0x800000:
        mantissa, size = mantissa >> 8, size + 1
    return size << 24 | mantissa


def work(target):
    return (1 << 256) // (target + 1)


def meets(hash_bytes, target):
    return int.from_bytes(hash_bytes, "little") <= target


# 7. Signatures

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_MINUS_1 = pow(2, (P - 1) // 4, P)


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    ratio = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(ratio, (P + 3) // 8, P)
    if x * x % P != ratio:
        x = x * SQRT_MINUS_1 % P
    require(x * x % P == ratio, "Mismatch")
    return (P - x if x & 1 != sign else x) % P, y


def add(a, b):
    """Adds points in extended coordinates (X, Y, Z, T)."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, point):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = add(result, point)
        point, n = add(point, point), n >> 1
    return result


def extended(point):
    return point[0], point[1], 1, point[0] * point[1] % P


def is_neutral(point):
    return point[0] % P == 0 and (point[1] - point[2]) % P == 0


BASE = extended(decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little")))
SMALL_Y = {
    1, P - 1, 0,
    int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
    int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
}


def check_point(data, name):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    require(y < P and not (sign and y in (1, P - 1)), "NonCanonical" + name)
    require(y not in SMALL_Y, "SmallOrder" + name)


def check_signature(key, signature, message):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    check_point(key, "Key")
    check_point(r, "R")
    require(s < ORDER, "UnreducedS")
    a, big_r = extended(decompress(key)), extended(decompress(r))
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % ORDER
    right = add(big_r, times(k, a))
    minus = (P - right[0], right[1], right[2], (P - right[3]) % P)
    require(is_neutral(times(8, add(times(s, BASE), minus))), "Mismatch")


# 8. Trees over lists

def split(n):
    return 1 << (n - 1).bit_length() - 1


def list_root(tag, leaves):
    if not leaves:
        return ZERO
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return tagged(tag, list_root(tag, leaves[:k]) + list_root(tag, leaves[k:]))


def root_from_path(tag, leaf, index, count, path):
    """The root, or nothing where the path has the wrong length."""
    if index >= count:
        return None
    if count == 1:
        return None if path else leaf
    if not path:
        return None
    k, rest, sibling = split(count), path[:-1], path[-1]
    if index < k:
        below = root_from_path(tag, leaf, index, k, rest)
        return below and tagged(tag, below + sibling)
    below = root_from_path(tag, leaf, index - k, count - k, rest)
    return below and tagged(tag, sibling + below)


def tx_root(body):
    leaves = [body["reward_to"]] + [transaction["bytes"] for transaction in body["transactions"]]
    return list_root("tx-node", [tagged("tx-leaf", leaf) for leaf in leaves])


# 9. State: a dictionary from keys to the bytes of leaves

def account_key(account):
    return tagged("account-key", account)


def reward_key(height):
    return tagged("reward-key", u64(height))


HISTORY_KEY = tagged("history-key", b"")


def bit(key, depth):
    return key[depth // 8] >> 7 - depth % 8 & 1


def state_root(leaves, depth=0):
    """Over pairs of key and bytes, in any order."""
    if not leaves:
        return ZERO
    if len(leaves) == 1:
        return tagged("state-leaf", leaves[0][0] + leaves[0][1])
    sides = [[leaf for leaf in leaves if bit(leaf[0], depth) == side] for side in (0, 1)]
    return tagged("state-node", state_root(sides[0], depth + 1) + state_root(sides[1], depth + 1))


def root_of(state):
    return state_root(list(state.items()))


def pack_account(balance, nonce):
    return u64(balance) + u64(nonce)


def get_account(state, account):
    data = state.get(account_key(account), bytes(16))
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")


def set_account(state, account, balance, nonce):
    if balance or nonce:
        state[account_key(account)] = pack_account(balance, nonce)
    else:
        state.pop(account_key(account), None)


# 10. History

def history_root(ancestors):
    """Over pairs of block hash and cumulative work, genesis first."""
    leaves = [tagged("history-leaf", hash_bytes + total.to_bytes(32, "little")) for hash_bytes, total in ancestors]
    return list_root("history-node", leaves)


# 11. Applying a block

def transfer(state, transaction, reserve):
    sender, to = transaction["from"], transaction["to"]
    balance, nonce = get_account(state, sender)
    require(transaction["nonce"] == nonce, "Nonce")
    required = transaction["amount"] + transaction["fee"]
    require(balance >= required, "Overspend")
    set_account(state, sender, balance - required, nonce + 1)
    balance, nonce = get_account(state, to)
    set_account(state, to, balance + transaction["amount"], nonce)
    require(get_account(state, sender)[0] >= reserve, "SenderBelowReserve")
    require(to == sender or get_account(state, to)[0] >= reserve, "RecipientBelowReserve")


def connect(state, ancestors, block, params):
    """The state after a block, from that of its parent; ancestors end with the parent."""
    state, height, fees = dict(state), len(ancestors), 0
    state[HISTORY_KEY] = history_root(ancestors)
    for index, transaction in enumerate(block["body"]["transactions"]):
        try:
            transfer(state, transaction, params["account_reserve"])
        except Refused as refused:
            raise Refused(f"Transfer.{refused}", index) from None
        fees += transaction["fee"]
    if height > params["maturity"]:
        reward = state.pop(reward_key(height - params["maturity"]))
        balance, nonce = get_account(state, reward[:32])
        set_account(state, reward[:32], balance + int.from_bytes(reward[32:], "little"), nonce)
    state[reward_key(height)] = block["body"]["reward_to"] + u64(subsidy(params, height) + fees)
    require(root_of(state) == block["header"]["state_root"], "StateRoot")
    return state


# 12. Difficulty

def next_bits(params, height, bits, time, grandparent_time):
    """The bits of the child of a parent with this height, bits and time."""
    interval, response = params["interval"], params["response"]
    if height == 0:
        return params["bits"]
    elapsed = interval if height == 1 else min(time - grandparent_time, 4 * response)
    target = expand(bits) * (response - interval + elapsed) // response
    return compact(max(1, min(target, expand(params["pow_limit"]))))


# 13. Subsidy

def subsidy(params, height):
    if height == 0:
        return 0
    halvings = (height - 1) // params["halving_interval"]
    return params["subsidy"] >> halvings if halvings < 64 else 0


def subsidies_through(params, height):
    total, first = 0, 1
    for halvings in range(64):
        blocks = min(params["halving_interval"], height - first + 1)
        if blocks <= 0:
            break
        total, first = total + (params["subsidy"] >> halvings) * blocks, first + blocks
    return total


# 14. Genesis

KINDS = ["main", "test", "dev"]
NUMBERS = ["time", "interval", "response", "max_future", "halving_interval", "maturity", "max_block_bytes"]
AMOUNTS = ["subsidy", "account_reserve"]
FIELDS = {"name", "kind", "pow_limit", "bits", "address_prefix", "allocations", *NUMBERS, *AMOUNTS}
DAY = 86_400_000


def json_amount(text):
    require(isinstance(text, str) and text.isascii() and text.isdigit() and (text == "0" or text[0] != "0"), "Json")
    require(int(text) < 1 << 64, "Json")
    return int(text)


def json_bits(text):
    require(isinstance(text, str), "Json")
    digits = text.removeprefix("0x")
    require(len(digits) == 8 and all(digit in "0123456789abcdefABCDEF" for digit in digits), "Json")
    return int(digits, 16)


def read_genesis(file):
    require(isinstance(file, dict) and set(file) == FIELDS, "Json")
    params = {name: file[name] for name in ["name", "address_prefix"]}
    require(all(isinstance(text, str) for text in params.values()), "Json")
    require(file["kind"] in KINDS, "Json")
    params["kind"] = KINDS.index(file["kind"])
    for name in NUMBERS:
        require(type(file[name]) is int and 0 <= file[name] < 1 << 64, "Json")
        params[name] = file[name]
    for name in AMOUNTS:
        params[name] = json_amount(file[name])
    params["pow_limit"], params["bits"] = json_bits(file["pow_limit"]), json_bits(file["bits"])
    require(isinstance(file["allocations"], list), "Json")
    for allocation in file["allocations"]:
        require(isinstance(allocation, dict) and set(allocation) == {"address", "amount"}, "Json")
        require(isinstance(allocation["address"], str), "Json")
    amounts = [json_amount(allocation["amount"]) for allocation in file["allocations"]]
    check_params({**params, "allocations": []})
    accounts = []
    for allocation in file["allocations"]:
        try:
            accounts.append(read_address(params["address_prefix"], allocation["address"]))
        except Refused as refused:
            raise Refused(f"Address.{refused}") from None
    params["allocations"] = list(zip(accounts, amounts))
    check_params(params)
    return params


def is_canonical(bits):
    try:
        return compact(expand(bits)) == bits
    except Refused:
        return False


def check_params(params):
    def rule(holds, name):
        require(holds, f"Params.{name}")

    name, prefix = params["name"].encode(), params["address_prefix"]
    rule(1 <= len(name) <= 32 and all(0x20 <= byte <= 0x7E for byte in name), "Name")
    rule(params["time"] <= 7_258_118_400_000, "Time")
    rule(1 <= params["interval"] <= 366 * DAY, "Interval")
    rule(60 * params["interval"] <= params["response"] <= 36_600 * DAY, "Response")
    rule(params["max_future"] <= params["response"] // 10, "MaxFuture")
    rule(is_canonical(params["pow_limit"]), "PowLimit")
    rule(is_canonical(params["bits"]), "Bits")
    rule(expand(params["bits"]) <= expand(params["pow_limit"]), "BitsOverLimit")
    rule(params["halving_interval"] >= 1, "HalvingInterval")
    rule(1 <= params["maturity"] <= 1_000_000, "Maturity")
    rule(572 <= params["max_block_bytes"] <= 16_777_216, "MaxBlockBytes")
    rule(params["account_reserve"] < 2**53, "AccountReserve")
    rule(1 <= len(prefix) <= 16 and all("a" <= letter <= "z" for letter in prefix), "AddressPrefix")
    previous = None
    for account, amount in params["allocations"]:
        rule(amount > 0, "AllocationZero")
        rule(account != previous, "AllocationTwice")
        rule(previous is None or account > previous, "AllocationOrder")
        previous = account
    total = sum(amount for _, amount in params["allocations"])
    total += params["halving_interval"] * sum(params["subsidy"] >> n for n in range(64))
    rule(total <= 2**53 - 1, "Supply")


def encode_params(params):
    def text(value):
        return u64(len(value.encode())) + value.encode()

    data = text(params["name"]) + u32(params["kind"])
    data += b"".join(u64(params[name]) for name in ["time", "interval", "response", "max_future"])
    data += u32(params["pow_limit"]) + u32(params["bits"])
    names = ["subsidy", "halving_interval", "maturity", "max_block_bytes", "account_reserve"]
    data += b"".join(u64(params[name]) for name in names) + text(params["address_prefix"])
    data += u64(len(params["allocations"]))
    return data + b"".join(account + u64(amount) for account, amount in params["allocations"])


def genesis_state(params):
    return {account_key(account): pack_account(amount, 0) for account, amount in params["allocations"]}


def genesis_header(params):
    prev_hash = tagged("params", encode_params(params))
    root = tx_root({"reward_to": ZERO, "transactions": []})
    return (u32(1) + prev_hash + root_of(genesis_state(params)) + root + u64(params["time"]) + u32(params["bits"])
            + u32(0))


# 15. Validity

def check_header(data, params):
    header = decode("header", data)
    try:
        target = expand(header["bits"])
    except Refused as refused:
        raise Refused(f"Bits.{refused}") from None
    require(target <= expand(params["pow_limit"]), "OverLimit")
    require(meets(block_hash(data), target), "Work")
    return header, work(target)


def check_context(header, parent_hash, height, bits, time, grandparent_time, params, now):
    require(header["prev_hash"] == parent_hash, "Invalid.Parent")
    require(header["version"] == 1, "Invalid.Version")
    require(header["bits"] == next_bits(params, height, bits, time, grandparent_time), "Invalid.Difficulty")
    require(header["time"] > time, "Invalid.Time")
    require(header["time"] - params["max_future"] <= now, "NotYet")


def signing_message(chain_id, transaction):
    return b"drystone/sign/v1" + chain_id + transaction["body"]


def check_transaction(transaction, chain_id):
    require(len(transaction["memo"]) <= 256, "MemoTooLong")
    require(transaction["amount"] + transaction["fee"] < 1 << 64, "AmountOverflow")
    try:
        check_signature(transaction["from"], transaction["signature"], signing_message(chain_id, transaction))
    except Refused as refused:
        raise Refused(f"Signature.{refused}") from None


def check_block(data, block, params, chain_id):
    require(len(data) <= params["max_block_bytes"], "TooLarge")
    require(tx_root(block["body"]) == block["header"]["tx_root"], "TxRoot")
    for index, transaction in enumerate(block["body"]["transactions"]):
        try:
            check_transaction(transaction, chain_id)
        except Refused as refused:
            raise Refused(f"Transaction.{refused}", index) from None


# 17. Proofs

def verify_state_proof(proof, root, key):
    """The leaf of the key as kind and bytes, nothing where it has none."""
    siblings, terminal = proof["siblings"], proof["terminal"]
    n = len(siblings)
    require(n <= 256, "TooDeep")
    require(ZERO not in siblings, "SpeltOutEmpty")
    require(not siblings or siblings[0] is not None, "NotCompressed")
    if terminal:
        require(all(bit(terminal[0], depth) == bit(key, depth) for depth in range(n)), "StrayLeaf")
    found = tagged("state-leaf", terminal[0] + terminal[1][1]) if terminal else ZERO
    for i, sibling in enumerate(siblings):
        sibling = sibling or ZERO
        found = tagged("state-node", sibling + found if bit(key, n - 1 - i) else found + sibling)
    require(found == root, "WrongRoot")
    return terminal[1] if terminal and terminal[0] == key else None


def proven_leaf(proof, root, key, kind):
    try:
        leaf = verify_state_proof(proof, root, key)
    except Refused as refused:
        raise Refused(f"State.{refused}") from None
    require(leaf is None or leaf[0] == kind, "LeafKind")
    return leaf and leaf[1]


# 18. Addresses

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def polymod(values):
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for i, term in enumerate([0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]):
            checksum ^= term if top >> i & 1 else 0
    return checksum


def expand_prefix(prefix):
    return [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]


def read_address(prefix, text):
    require(text in (text.lower(), text.upper()) and text.isascii(), "Malformed")
    text = text.lower()
    found, separator, data = text.rpartition("1")
    require(separator and found and len(data) >= 6 and len(text) <= 90, "Malformed")
    require(all(33 <= ord(letter) <= 126 for letter in found), "Malformed")
    require(all(letter in CHARSET for letter in data), "Malformed")
    values = [CHARSET.index(letter) for letter in data]
    require(polymod(expand_prefix(found) + values) == 0x2BC830A3, "Malformed")
    require(found == prefix, "WrongPrefix")
    number, spare = 0, len(values[:-6]) * 5 % 8
    for value in values[:-6]:
        number = number << 5 | value
    require(spare <= 4 and number & (1 << spare) - 1 == 0, "Malformed")
    length = len(values[:-6]) * 5 // 8
    require(length == 32, "WrongLength")
    return (number >> spare).to_bytes(32, "big")


# The cases

def verdict(check, *arguments):
    """What a check returns, and the name of the rule that it refused by."""
    try:
        return check(*arguments), None
    except Refused as refused:
        return refused.args[1] if len(refused.args) > 1 else None, refused.args[0]


def same(found, expected, case):
    if found != expected:
        raise AssertionError(f"{case.get('comment', case)}: found {found!r}, expected {expected!r}")


def unprinted(text):
    return bytes.fromhex(text)[::-1]


def run_encodings(cases, _):
    def read(case):
        try:
            data = bytes.fromhex(case["hex"]) + bytes(case.get("zeros", 0))
        except ValueError:
            raise Refused("NotHex") from None
        return decode(case["kind"], data)

    for case in cases:
        value, error = verdict(read, case)
        same(error, case["error"], case)
        if error is None and case["kind"] == "params":
            same(read_genesis(case["value"]), value, case)
        elif error is None and case["kind"] in ("account", "reward"):
            plain = {name: item.hex() if isinstance(item, bytes) else item for name, item in value.items()}
            stated = {name: int(item) if name in ("balance", "amount") else item for name, item in case["value"].items()}
            same(plain, stated, case)
        elif error is None and case["kind"] == "header":
            stated = dict(case["value"])
            for name in ("state_root", "tx_root"):
                same(value[name].hex(), stated[name], case)
            same(printed(value["prev_hash"]), stated["prev_hash"], case)
            same([value["time"], value["nonce"], f"{value['bits']:08x}"], [stated[n] for n in ("time", "nonce", "bits")], case)
        elif error is None and case["kind"] == "transaction":
            stated = case["value"]
            same(value["signature"].hex(), stated["signature"], case)
            for name in ("from", "to", "memo"):
                same(value[name].hex(), stated["body"][name], case)
            for name in ("amount", "fee", "nonce"):
                same(value[name], int(stated["body"][name]), case)


def run_hashes(cases, _):
    for case in cases:
        data = bytes.fromhex(case["input"])
        tag = case["function"].removeprefix("drystone/")
        same((block_hash(data) if tag == "sha256d" else tagged(tag, data)).hex(), case["output"], case)


def run_merkle(cases, _):
    for case in cases:
        kind = "tx" if case["tree"] == "transactions" else "history"
        leaves = [tagged(f"{kind}-leaf", bytes.fromhex(leaf)) for leaf in case["leaves"]]
        same(list_root(f"{kind}-node", leaves).hex(), case["root"], case)
        for index, path in enumerate(case["paths"]):
            path = [bytes.fromhex(sibling) for sibling in path]
            found = root_from_path(f"{kind}-node", leaves[index], index, len(leaves), path)
            same(found.hex(), case["root"], case)


def run_addresses(cases, _):
    for case in cases:
        account, error = verdict(read_address, case["prefix"], case["address"])
        same((account and account.hex(), error), (case["account"], case["error"]), case)


def run_targets(cases, _):
    for case in cases:
        bits = int(case["bits"], 16)
        target, error = verdict(expand, bits)
        same(error, case["error"], case)
        if error is None:
            found = (f"{target:064x}", f"{compact(target):08x}", f"{work(target):064x}")
            same(found, (case["target"], case["compact"], case["work"]), case)
            for hash_text, met in case["hashes"]:
                same(meets(unprinted(hash_text), target), met, case)


def timing(case):
    found = dict(case["timing"])
    return {**found, "bits": int(found["bits"], 16), "pow_limit": int(found["pow_limit"], 16)}


def run_wtema(cases, _):
    for case in cases:
        found = next_bits(timing(case), case["height"], int(case["bits"], 16), case["time"], case["grandparent_time"])
        same(f"{found:08x}", case["next"], case)


def run_sequences(cases, _):
    for case in cases:
        params, times_, bits = timing(case), case["times"], [int(bits, 16) for bits in case["bits"]]
        same(bits[0], params["bits"], case)
        for height in range(1, len(bits)):
            grandparent = times_[max(height - 2, 0)]
            same(next_bits(params, height - 1, bits[height - 1], times_[height - 1], grandparent), bits[height], case)


def run_subsidies(cases, _):
    for case in cases:
        params = {"subsidy": int(case["initial"]), "halving_interval": case["halving_interval"]}
        found = (str(subsidy(params, case["height"])), str(subsidies_through(params, case["height"])))
        same(found, (case["subsidy"], case["through"]), case)


def run_genesis(cases, _):
    for case in cases:
        params, error = verdict(read_genesis, case["file"])
        same(error, case["error"], case)
        if error is None:
            header = genesis_header(params)
            found = (encode_params(params).hex(), header[36:68].hex(), header.hex(), printed(block_hash(header)))
            same(found, (case["encoded"], case["state_root"], case["header"], case["chain_id"]), case)


def leaf_bytes(value):
    (kind, leaf), = value.items()
    if kind == "account":
        return 0, pack_account(int(leaf["balance"]), leaf["nonce"])
    if kind == "reward":
        return 1, bytes.fromhex(leaf["to"]) + u64(int(leaf["amount"]))
    return 2, bytes.fromhex(leaf)


def run_state_tree(cases, _):
    for case in cases:
        leaves = {bytes.fromhex(key): leaf_bytes(leaf)[1] for key, leaf in case["leaves"]}
        root = root_of(leaves)
        same(root.hex(), case["root"], case)
        for asked in case["proofs"]:
            proof = decode("state-proof", bytes.fromhex(asked["proof"]))
            found = verify_state_proof(proof, root, bytes.fromhex(asked["key"]))
            same(found, asked["leaf"] and leaf_bytes(asked["leaf"]), case)


def prove_account(fact):
    proof, root = decode("state-proof", bytes.fromhex(fact["proof"])), bytes.fromhex(fact["root"])
    leaf = proven_leaf(proof, root, account_key(bytes.fromhex(fact["account"])), 0)
    expected = pack_account(int(fact["holds"]["balance"]), fact["holds"]["nonce"])
    assert (leaf or bytes(16)) == expected, fact


def prove_ancestor(fact):
    history, path = decode("ancestor-proof", bytes.fromhex(fact["proof"]))
    headers = [bytes.fromhex(header) for header in fact["headers"]]
    root = proven_leaf(history, decode("header", headers[-1])["state_root"], HISTORY_KEY, 2)
    require(root is not None, "History")
    leaf = tagged("history-leaf", unprinted(fact["hash"]) + bytes.fromhex(fact["work"])[::-1])
    require(root_from_path("history-node", leaf, fact["height"], len(headers), path) == root, "History")


def prove_transaction(fact):
    leaf, path = tagged("tx-leaf", bytes.fromhex(fact["transaction"])), [bytes.fromhex(item) for item in fact["path"]]
    found = root_from_path("tx-node", leaf, fact["index"] + 1, fact["count"] + 1, path)
    require(found == bytes.fromhex(fact["root"]), "Transaction")


def run_proofs(cases, _):
    provers = {"account": prove_account, "ancestor": prove_ancestor, "transaction": prove_transaction}
    for case in cases:
        _, error = verdict(provers[case["fact"]["kind"]], case["fact"])
        same(error, case["error"], case)


def run_headers(cases, params):
    for case in cases:
        data = bytes.fromhex(case["header"])
        same(printed(block_hash(data)), case["hash"], case)
        found, error = verdict(check_header, data, params)
        same(error, case["error"], case)
        same(found and f"{found[1]:064x}", case["work"], case)


def run_contexts(cases, params):
    for case in cases:
        header, _ = check_header(bytes.fromhex(case["header"]), params)
        parent = (case["parent_height"], int(case["parent_bits"], 16), case["parent_time"], case["grandparent_time"])
        _, error = verdict(check_context, header, unprinted(case["parent_hash"]), *parent, params, case["now"])
        same(error, case["error"], case)
        at = header["time"] - params["max_future"] if error == "NotYet" else None
        same(at, case["acceptable_at"], case)


def run_transactions(cases, params):
    chain_id = block_hash(genesis_header(params))
    for case in cases:
        transaction = decode("transaction", bytes.fromhex(case["transaction"]), cap=4096)
        found = (tagged("txid", transaction["body"]).hex(), tagged("wire-id", transaction["bytes"]).hex(),
                 signing_message(chain_id, transaction).hex())
        same(found, (case["txid"], case["wire_id"], case["signing_message"]), case)
        _, error = verdict(check_transaction, transaction, chain_id)
        same(error, case["error"], case)


def run_blocks(cases, params):
    chain_id = block_hash(genesis_header(params))
    for case in cases:
        data = bytes.fromhex(case["block"])
        block = decode("block", data)
        check_header(block["header"]["bytes"], params)
        same(verdict(check_block, data, block, params, chain_id), (case["index"], case["error"]), case)


def run_connect(cases, params):
    chain_id = block_hash(genesis_header(params))
    for case in cases:
        pairs = [*case["ancestors"], case["parent"]]
        ancestors = [(unprinted(hash_text), int(total, 16)) for hash_text, total in pairs]
        state = {}
        for account, holds in case["accounts"]:
            set_account(state, bytes.fromhex(account), int(holds["balance"]), holds["nonce"])
        for height, reward in case["rewards"]:
            state[reward_key(height)] = leaf_bytes({"reward": reward})[1]
        if ancestors[:-1]:
            state[HISTORY_KEY] = history_root(ancestors[:-1])
        data = bytes.fromhex(case["block"])
        block = decode("block", data)
        check_header(block["header"]["bytes"], params)
        check_block(data, block, params, chain_id)
        after, error = verdict(connect, state, ancestors, block, params)
        same(error, case["error"], case)
        if error:
            same(after, case["index"], case)
        else:
            stated = {bytes.fromhex(key): leaf_bytes(leaf)[1] for key, leaf in case["after"]}
            same(after, stated, case)


class Node:
    """A node of nothing but the rules (15, 16)."""

    def __init__(self, params):
        header = genesis_header(params)
        self.params, self.chain_id = params, block_hash(header)
        total = work(expand(params["bits"]))
        start = {"header": decode("header", header), "state": genesis_state(params), "line": [(self.chain_id, total)]}
        self.known, self.invalid, self.tip = {self.chain_id: start}, set(), self.chain_id

    def arrive(self, data, now):
        block = decode("block", data)
        header = block["header"]
        _, error = found = verdict(check_header, header["bytes"], self.params)
        if error:
            return f"header {error}"
        own, own_work = block_hash(header["bytes"]), found[0][1]
        if header["prev_hash"] in self.invalid:
            self.invalid.add(own)
            return "invalid parent"
        parent = self.known.get(header["prev_hash"])
        if parent is None:
            return "missing parent"
        before, line = parent["header"], parent["line"]
        grandparent = self.known.get(before["prev_hash"])
        context = (len(line) - 1, before["bits"], before["time"], grandparent["header"]["time"] if grandparent else 0)
        _, error = verdict(check_context, header, line[-1][0], *context, self.params, now)
        if error:
            return f"context {error}"
        _, error = verdict(check_block, data, block, self.params, self.chain_id)
        if error:
            self.invalid |= set() if error == "TxRoot" else {own}
            return f"block {error}"
        state, error = verdict(connect, parent["state"], line, block, self.params)
        if error:
            self.invalid.add(own)
            return f"connect {error}"
        total = line[-1][1] + own_work
        self.known[own] = {"header": header, "state": state, "line": line + [(own, total)]}
        if total > self.known[self.tip]["line"][-1][1]:
            self.tip = own
        return "accepted"


def run_chains(cases, params):
    for case in cases:
        node = Node(params)
        for arrival in case["blocks"]:
            same(node.arrive(bytes.fromhex(arrival["block"]), arrival["now"]), arrival["verdict"], arrival)
            tip = node.known[node.tip]
            same((printed(node.tip), len(tip["line"]) - 1), (arrival["tip"], arrival["height"]), arrival)
        state = node.known[node.tip]["state"]
        same(root_of(state).hex(), case["state_root"], case)
        for account, holds in case["accounts"]:
            found = get_account(state, bytes.fromhex(account))
            same(found, (int(holds["balance"]), holds["nonce"]), case)


def run_signatures(cases):
    for case in cases:
        key, signature = bytes.fromhex(case["public_key"]), bytes.fromhex(case["signature"])
        _, error = verdict(check_signature, key, signature, bytes.fromhex(case["message"]))
        same(error, case["error"], case)


RUNNERS = {
    "encodings.json": run_encodings,
    "hashes.json": run_hashes,
    "merkle.json": run_merkle,
    "addresses.json": run_addresses,
    "targets.json": run_targets,
    "wtema.json": run_wtema,
    "wtema_sequences.json": run_sequences,
    "subsidy.json": run_subsidies,
    "genesis.json": run_genesis,
    "state_tree.json": run_state_tree,
    "proofs.json": run_proofs,
    "headers.json": run_headers,
    "contexts.json": run_contexts,
    "transactions.json": run_transactions,
    "blocks.json": run_blocks,
    "connect.json": run_connect,
    "chains.json": run_chains,
}


def main():
    total = 0
    for name, run in RUNNERS.items():
        file = json.loads((FOLDER / name).read_text(encoding="utf-8"))
        run(file["cases"], file["genesis"] and read_genesis(file["genesis"]))
        total += len(file["cases"])
    signatures = json.loads((FOLDER / "signatures.json").read_text(encoding="utf-8"))
    run_signatures(signatures)
    print(f"{total + len(signatures)} cases hold")


if __name__ == "__main__":
    sys.exit(main())
