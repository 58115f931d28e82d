//! The signature rule against crafted signatures: the cases of `tests/vectors/signatures.json`, made again here and
//! compared with the file, then verified singly and within batches.

use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity;
use curve25519_dalek::{EdwardsPoint, Scalar};
use proptest::prelude::*;
use sha2::{Digest, Sha512};

use super::*;

const VECTORS: &str = include_str!("../../../tests/vectors/signatures.json");
const SECRET: [u8; 32] = [7; 32];

/// One case, as the file holds it: the rule's verdict on one signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Case {
    comment: String,
    public_key: AccountId,
    /// Hex.
    message: String,
    signature: Signature,
    valid: bool,
    /// The name of the [`SignatureError`], if not valid.
    error: Option<String>,
}

impl Case {
    fn item(&self) -> SignedMessage {
        let message = hex::decode(&self.message).expect("hex");
        SignedMessage { signer: self.public_key, signature: self.signature, message }
    }
}

type Verdict = Result<(), SignatureError>;

/// The cases in the making.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, comment: impl Into<String>, item: &SignedMessage, verdict: Verdict) {
        self.0.push(Case {
            comment: comment.into(),
            public_key: item.signer,
            message: hex::encode(&item.message),
            signature: item.signature,
            valid: verdict.is_ok(),
            error: verdict.err().map(|error| format!("{error:?}")),
        });
    }
}

/// A known scalar for each label.
fn scalar(label: &str) -> Scalar {
    Scalar::from_hash(Sha512::new().chain_update(label))
}

fn base(scalar: &Scalar) -> EdwardsPoint {
    scalar * ED25519_BASEPOINT_TABLE
}

/// `k` of the signature equation.
fn challenge(item: &SignedMessage) -> Scalar {
    let hash = Sha512::new().chain_update(&item.signature.0[..32]).chain_update(item.signer.0);
    Scalar::from_hash(hash.chain_update(&item.message))
}

fn join(r: &[u8; 32], s: &[u8; 32]) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(r);
    bytes[32..].copy_from_slice(s);
    Signature(bytes)
}

fn with_s(item: &SignedMessage, s: &[u8; 32]) -> SignedMessage {
    let r = item.signature.0[..32].try_into().expect("32 bytes");
    SignedMessage { signature: join(r, s), ..item.clone() }
}

/// Signs over any encodings of `A` and `R` with `s = r + k a`, which satisfies the cofactored equation whenever `A` is
/// `[a]B` and `R` is `[r]B`, each plus a point of small order.
fn craft(key: [u8; 32], commitment: [u8; 32], a: &Scalar, r: &Scalar, message: &[u8]) -> SignedMessage {
    let unsigned =
        SignedMessage { signer: AccountId(key), signature: join(&commitment, &[0; 32]), message: message.to_vec() };
    let s = r + challenge(&unsigned) * a;
    with_s(&unsigned, s.as_bytes())
}

/// A valid signature with known scalars, so that its parts can be bent.
fn honest(label: &str) -> SignedMessage {
    let (a, r) = (scalar(&format!("{label} a")), scalar(&format!("{label} r")));
    craft(base(&a).compress().0, base(&r).compress().0, &a, &r, label.as_bytes())
}

fn s_of(item: &SignedMessage) -> Scalar {
    Scalar::from_bytes_mod_order(item.signature.0[32..].try_into().expect("32 bytes"))
}

/// `a + b` as 256-bit little-endian numbers.
fn add(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let number = ruint::aliases::U256::from_le_bytes(*a) + ruint::aliases::U256::from_le_bytes(*b);
    number.to_le_bytes()
}

fn with_sign(mut y: [u8; 32]) -> [u8; 32] {
    y[31] |= 0x80;
    y
}

/// Every encoding that decompresses to a point of small order: eight canonical ones, then six others.
fn small_order_encodings() -> Vec<([u8; 32], bool)> {
    let canonical = EIGHT_TORSION.iter().map(|point| (point.compress().0, true));
    let p = p_minus(0);
    let others = [
        with_sign(small_y(1)),
        with_sign(p_minus(1)),
        p,
        with_sign(p),
        add(&p, &small_y(1)),
        with_sign(add(&p, &small_y(1))),
    ];
    canonical.chain(others.map(|bytes| (bytes, false))).collect()
}

fn torsion_cases(cases: &mut Cases) {
    let (a, r) = (scalar("torsion a"), scalar("torsion r"));
    let (key, commitment) = (base(&a).compress().0, base(&r).compress().0);
    for (encoding, canonical) in small_order_encodings() {
        let kind = if canonical { "canonical" } else { "non-canonical" };
        let name = format!("small order, {kind} {}", hex::encode(encoding));
        let key_error = if canonical { SignatureError::SmallOrderKey } else { SignatureError::NonCanonicalKey };
        let r_error = if canonical { SignatureError::SmallOrderR } else { SignatureError::NonCanonicalR };
        let zero = Scalar::ZERO;
        cases.add(format!("A of {name}"), &craft(encoding, commitment, &zero, &r, b"A"), Err(key_error));
        cases.add(format!("R of {name}"), &craft(key, encoding, &a, &zero, b"R"), Err(r_error));
        cases.add(format!("A and R of {name}, s = 0"), &craft(encoding, encoding, &zero, &zero, b"AR"), Err(key_error));
    }
}

fn canonical_cases(cases: &mut Cases) {
    let (a, r) = (scalar("canonical a"), scalar("canonical r"));
    let (key, commitment) = (base(&a).compress().0, base(&r).compress().0);
    let mut both = |name: String, encoding, key_error, r_error| {
        cases.add(format!("A {name}"), &craft(encoding, commitment, &a, &r, b"A"), Err(key_error));
        cases.add(format!("R {name}"), &craft(key, encoding, &a, &r, b"R"), Err(r_error));
    };
    let on_curve = |y: &[u8; 32]| CompressedEdwardsY(*y).decompress().is_some();
    for n in 2..19 {
        let y = add(&p_minus(0), &small_y(n));
        for encoding in [y, with_sign(y)] {
            let place = if on_curve(&y) { "on the curve" } else { "off the curve" };
            let name = format!("with y = p + {n}, {place}, sign {}", encoding[31] >> 7);
            both(name, encoding, SignatureError::NonCanonicalKey, SignatureError::NonCanonicalR);
        }
    }
    // The neighbours: as near to p as the curve allows, canonical, and refused by the equation only.
    let below = (2..19).find(|n| on_curve(&p_minus(*n))).expect("about half of all y are on the curve");
    let off = (2..19).find(|n| !on_curve(&small_y(*n))).expect("about half of all y are not");
    for (name, y) in
        [(format!("with y = p - {below}"), p_minus(below)), (format!("off the curve, y = {off}"), small_y(off))]
    {
        both(name.clone(), y, SignatureError::Mismatch, SignatureError::Mismatch);
        both(format!("{name}, sign 1"), with_sign(y), SignatureError::Mismatch, SignatureError::Mismatch);
    }
}

fn mixed_order_cases(cases: &mut Cases) {
    let (a, r) = (scalar("mixed a"), scalar("mixed r"));
    for (i, t) in EIGHT_TORSION.iter().enumerate() {
        for (j, u) in EIGHT_TORSION.iter().enumerate() {
            let (key, commitment) = ((base(&a) + t).compress().0, (base(&r) + u).compress().0);
            let item = craft(key, commitment, &a, &r, b"mixed order");
            let name = format!("A = [a]B + T{i}, R = [r]B + T{j}");
            cases.add(format!("{name}: the cofactored equation holds"), &item, Ok(()));
            if i == j {
                let wrong = with_s(&item, (s_of(&item) + Scalar::ONE).as_bytes());
                cases.add(format!("{name}, s + 1"), &wrong, Err(SignatureError::Mismatch));
            }
        }
    }
}

fn scalar_cases(cases: &mut Cases) {
    let item = honest("range of s");
    cases.add("valid, its s is bent below", &item, Ok(()));
    let s = *s_of(&item).as_bytes();
    let mut bent = s;
    for n in 1..=14 {
        bent = add(&bent, &ORDER);
        cases.add(format!("s + {n} l"), &with_s(&item, &bent), Err(SignatureError::UnreducedS));
    }
    let l_minus_one = *(-Scalar::ONE).as_bytes();
    let mut power = [0; 32];
    power[31] = 0x10;
    for (name, s, error) in [
        ("s = l", ORDER, SignatureError::UnreducedS),
        ("s = l + 1", add(&ORDER, &small_y(1)), SignatureError::UnreducedS),
        ("s = 2^256 - 1", [0xff; 32], SignatureError::UnreducedS),
        ("s with bit 253 set", add(&s, &add(&power, &power)), SignatureError::UnreducedS),
        ("s = l - 1, in range", l_minus_one, SignatureError::Mismatch),
        ("s = 2^252, in range", power, SignatureError::Mismatch),
        ("s = 0, in range", [0; 32], SignatureError::Mismatch),
        ("-s, in range", *(-s_of(&item)).as_bytes(), SignatureError::Mismatch),
    ] {
        cases.add(name, &with_s(&item, &s), Err(error));
    }
}

fn bent_cases(cases: &mut Cases) {
    let item = honest("bent");
    cases.add("valid, bent below", &item, Ok(()));
    let mut bend = |name: &str, change: &dyn Fn(&mut SignedMessage), error| {
        let mut bent = item.clone();
        change(&mut bent);
        cases.add(name, &bent, Err(error));
    };
    bend("-A", &|item| item.signer.0[31] ^= 0x80, SignatureError::Mismatch);
    bend("-R", &|item| item.signature.0[31] ^= 0x80, SignatureError::Mismatch);
    bend("another key", &|item| item.signer = honest("other").signer, SignatureError::Mismatch);
    bend("another message", &|item| item.message[0] ^= 1, SignatureError::Mismatch);
    bend("a longer message", &|item| item.message.push(0), SignatureError::Mismatch);
    bend("no message", &|item| item.message.clear(), SignatureError::Mismatch);
    bend("64 zero bytes", &|item| item.signature.0 = [0; 64], SignatureError::SmallOrderR);
    bend(
        "key and signature zero",
        &|item| (item.signer.0, item.signature.0) = ([0; 32], [0; 64]),
        SignatureError::SmallOrderKey,
    );
}

/// Pairs whose errors cancel in a batch that adds the equations up: `+d` and `-d` on `s`, and on `R`.
fn cancelling_cases(cases: &mut Cases) {
    for (name, pair) in cancelling_batches().into_iter().filter(|(_, batch)| batch.len() == 2) {
        for item in pair {
            cases.add(format!("bad alone, cancels when added up: {name}"), &item, Err(SignatureError::Mismatch));
        }
    }
}

/// RFC 8032, 7.1: TEST 1, 2, 3 and SHA(abc), each as key, message and signature.
const RFC_8032: [(&str, &str, &str); 4] = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
];

fn rfc_cases(cases: &mut Cases) {
    for (i, (key, message, signature)) in RFC_8032.into_iter().enumerate() {
        let item = SignedMessage {
            signer: key.parse().expect("hex"),
            signature: signature.parse().expect("hex"),
            message: hex::decode(message).expect("hex"),
        };
        cases.add(format!("RFC 8032, 7.1, number {}", i + 1), &item, Ok(()));
    }
}

fn generate() -> Vec<Case> {
    let mut cases = Cases::default();
    rfc_cases(&mut cases);
    bent_cases(&mut cases);
    scalar_cases(&mut cases);
    torsion_cases(&mut cases);
    canonical_cases(&mut cases);
    mixed_order_cases(&mut cases);
    cancelling_cases(&mut cases);
    cases.0
}

/// Batches of which every signature is bad, and which a verifier accepts whose coefficients are all equal.
fn cancelling_batches() -> Vec<(String, Vec<SignedMessage>)> {
    let d = scalar("error");
    let bend_s = |item: &SignedMessage, error: Scalar| with_s(item, (s_of(item) + error).as_bytes());
    let bend_r = |label: &str, error: EdwardsPoint| {
        let (a, r) = (scalar(&format!("{label} a")), scalar(&format!("{label} r")));
        craft(base(&a).compress().0, (base(&r) + error).compress().0, &a, &r, label.as_bytes())
    };
    let same_key = |message: &[u8]| {
        let (a, r) = (scalar("same key a"), scalar(&format!("same key r {message:?}")));
        craft(base(&a).compress().0, base(&r).compress().0, &a, &r, message)
    };
    let (first, second) = (honest("first"), honest("second"));
    let many = (0..8u8).map(|i| bend_s(&honest(&format!("many {i}")), if i % 2 == 0 { d } else { -d }));
    let batches = [
        ("s + d and s - d, two keys", vec![bend_s(&first, d), bend_s(&second, -d)]),
        ("s + d and s - d, one key", vec![bend_s(&same_key(b"+"), d), bend_s(&same_key(b"-"), -d)]),
        ("R + [d]B and R - [d]B", vec![bend_r("plus", base(&d)), bend_r("minus", -base(&d))]),
        ("s + d and R + [d]B", vec![bend_s(&honest("fourth"), d), bend_r("fifth", base(&d))]),
        ("s + d, s + d, s - 2d", vec![bend_s(&first, d), bend_s(&second, d), bend_s(&honest("third"), -d - d)]),
        ("s + d and s - d four times", many.collect()),
    ];
    batches.map(|(name, batch)| (name.to_string(), batch)).into()
}

/// Whether the sum of all equations holds: the batch verification that random coefficients improve on.
fn holds_added_up(items: &[SignedMessage]) -> bool {
    let point = |bytes: &[u8]| {
        let bytes = bytes.try_into().expect("32 bytes");
        CompressedEdwardsY(bytes).decompress().expect("on the curve")
    };
    let excess = |item: &SignedMessage| {
        base(&s_of(item)) - point(&item.signature.0[..32]) - challenge(item) * point(&item.signer.0)
    };
    items.iter().map(excess).sum::<EdwardsPoint>().mul_by_cofactor().is_identity()
}

fn first_failure(items: &[SignedMessage]) -> Result<(), (usize, SignatureError)> {
    items.iter().enumerate().try_for_each(|(i, item)| item.verify().map_err(|error| (i, error)))
}

fn vectors() -> Vec<Case> {
    serde_json::from_str(VECTORS).expect("an array of cases")
}

fn signed(index: u8, message: &[u8]) -> SignedMessage {
    let key = SecretKey::dev(index);
    SignedMessage { signer: key.account(), signature: key.sign(message), message: message.to_vec() }
}

#[test]
fn the_file_is_what_this_code_makes() {
    let lines: Vec<_> = generate().iter().map(|case| serde_json::to_string(case).expect("plain data")).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    assert!(text == VECTORS, "tests/vectors/signatures.json should be:\n{text}");
}

#[test]
fn every_case_alone_and_among_valid_signatures() {
    let valid: Vec<_> = (0..6).map(|i| signed(i % 4, &[i])).collect();
    for (i, case) in vectors().iter().enumerate() {
        let verdict = case.item().verify();
        assert_eq!(verdict.is_ok(), case.valid, "{}", case.comment);
        assert_eq!(verdict.err().map(|error| format!("{error:?}")), case.error, "{}", case.comment);

        let place = i % (valid.len() + 1);
        let mut batch = valid.clone();
        batch.insert(place, case.item());
        assert_eq!(verify_batch(&batch, &SECRET), verdict.map_err(|error| (place, error)), "{}", case.comment);
        assert_eq!(verify_batch(&[case.item()], &SECRET), verdict.map_err(|error| (0, error)), "{}", case.comment);
    }
}

#[test]
fn all_valid_cases_are_one_valid_batch() {
    let items: Vec<_> = vectors().iter().filter(|case| case.valid).map(Case::item).collect();
    assert!(items.len() > EIGHT_TORSION.len());
    assert_eq!(verify_batch(&items, &SECRET), Ok(()));
}

#[test]
fn errors_that_would_cancel_do_not() {
    for (name, batch) in cancelling_batches() {
        assert!(holds_added_up(&batch), "{name}: badly crafted");
        assert!(batch.iter().all(|item| item.verify() == Err(SignatureError::Mismatch)), "{name}");
        for secret in 0..20 {
            assert_eq!(verify_batch(&batch, &[secret; 32]), Err((0, SignatureError::Mismatch)), "{name}");
        }
    }
}

#[test]
fn the_small_order_list_is_the_torsion_subgroup() {
    let mut listed: Vec<_> = EIGHT_TORSION.iter().map(|point| point.compress().0).collect();
    listed.iter_mut().for_each(|y| y[31] &= 0x7f);
    listed.sort_unstable();
    listed.dedup();
    let mut expected = SMALL_ORDER_Y.to_vec();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for (encoding, _) in small_order_encodings() {
        assert!(CompressedEdwardsY(encoding).decompress().is_some_and(|point| point.is_small_order()));
    }
    assert_eq!(add((-Scalar::ONE).as_bytes(), &small_y(1)), ORDER);
}

#[test]
fn the_lowest_failing_index_is_named() {
    let mut items: Vec<_> = (0..3000u32).map(|i| signed((i % 7) as u8, &i.to_le_bytes())).collect();
    assert_eq!(verify_batch(&items, &SECRET), Ok(()));
    // One bad signature of each key, so some in every batch.
    items[1500].signature.0[63] = 0xff;
    items[1501..1507].iter_mut().for_each(|item| item.message[0] ^= 1);
    assert_eq!(verify_batch(&items, &SECRET), Err((1500, SignatureError::UnreducedS)));
}

#[test]
fn no_signatures_are_valid() {
    assert_eq!(verify_batch(&[], &SECRET), Ok(()));
}

proptest! {
    #[test]
    fn a_batch_says_what_its_signatures_say_singly(picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let cases = vectors();
        let items: Vec<_> = picks.iter().map(|pick| pick.get(&cases).item()).collect();
        prop_assert_eq!(verify_batch(&items, &SECRET), first_failure(&items));
    }

    #[test]
    fn signing_is_canonical_and_verifies(seed in any::<[u8; 32]>(), message in proptest::collection::vec(any::<u8>(), 0..300)) {
        let key = SecretKey::from_seed(&seed);
        let item = SignedMessage { signer: key.account(), signature: key.sign(&message), message };
        prop_assert_eq!(item.verify(), Ok(()));
    }
}
