//! Check digits: whether digits that look like a card number or an IBAN are one. It takes the same time however
//! long the number is: prefix sums at two positions give the sum of everything in between.
//!
//! It does not know where numbers begin and end.

use super::phone;
use super::verdict::Verdict;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Card numbers: their check (ISO/IEC 7812-1, annex B), who issues them, and how they are grouped.
    Card,
    /// Account numbers: their check (ISO 7064, MOD 97-10), and how many digits their country has.
    Iban,
    /// That it is no date, and nothing else that is written like a phone number.
    Phone,
}

/// What the digits and letters of a text come to, up to a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Of the digits, modulo 10, where each second one is doubled: the odd ones, or the even ones.
    luhn: [u8; 2],
    /// How many there were, modulo 2.
    digits: u8,
    /// All of them as one number modulo 97; a letter is a number of two digits, from 10.
    mod_97: u8,
    /// How many digits that number has, modulo 96.
    length: u8,
}

/// 10 to the power of each number below 96, modulo 97. After that they come again.
const POWERS: [u32; 96] = {
    let (mut powers, mut at) = ([1; 96], 1);
    while at < 96 {
        powers[at] = powers[at - 1] * 10 % 97;
        at += 1;
    }
    powers
};

/// Of an account's number, what stands first counts last: two letters and two digits, which are six digits.
const MOVED: usize = 4;
const MOVED_DIGITS: usize = 6;

impl Sums {
    /// Goes on with the next byte of the text.
    pub(super) fn add(&mut self, byte: u8) {
        let Some(value) = char::from(byte).to_digit(36) else { return };
        let places = if value < 10 { 1 } else { 2 };
        self.mod_97 = modulo_97(u32::from(self.mod_97) * POWERS[places] + value);
        self.length = (self.length + places as u8) % 96;
        if places == 1 {
            let digit = value as u8;
            let doubled = if digit > 4 { 2 * digit - 9 } else { 2 * digit };
            let [even, odd] = &mut self.luhn;
            let (plain, other) = if self.digits == 0 { (even, odd) } else { (odd, even) };
            *plain = (*plain + digit) % 10;
            *other = (*other + doubled) % 10;
            self.digits = 1 - self.digits;
        }
    }

    /// What stands between an earlier place and this one, as a number modulo 97.
    fn number_since(&self, before: &Self) -> u32 {
        let length = usize::from((self.length + 96 - before.length) % 96);
        (u32::from(self.mod_97) + 97 * 97 - u32::from(before.mod_97) * POWERS[length]) % 97
    }
}

fn modulo_97(number: u32) -> u8 {
    (number % 97) as u8
}

impl Check {
    /// What a text is that stands between two places.
    pub(super) fn verdict(self, text: &[u8], before: &Sums, after: &Sums) -> Verdict {
        match self {
            Check::Card => card(text, || luhn(before, after)),
            Check::Iban => iban(text, || mod_97(text, before, after)),
            Check::Phone => phone::verdict(text),
        }
    }
}

fn luhn(before: &Sums, after: &Sums) -> bool {
    // The last digit is not doubled.
    let last = usize::from(1 - after.digits);
    after.luhn[last] == before.luhn[last]
}

fn mod_97(text: &[u8], before: &Sums, after: &Sums) -> bool {
    let mut with_moved = *before;
    text.iter().take(MOVED).for_each(|byte| with_moved.add(*byte));
    let rest = after.number_since(&with_moved);
    (rest * POWERS[MOVED_DIGITS] + with_moved.number_since(before)) % 97 == 1
}

/// A card's number, or that and what makes it part of something else.
fn card(text: &[u8], passes: impl FnOnce() -> bool) -> Verdict {
    match text {
        [.., b'.', _] | [.., b'A'..=b'Z' | b'a'..=b'z' | b'['] => Verdict::Withdraw,
        _ if passes() && is_issued(text) && is_grouped(text) => Verdict::Yes,
        [.., b'-', _] => Verdict::Withdraw,
        _ => Verdict::No,
    }
}

/// Whether a network issues numbers that begin like this and are as long.
fn is_issued(text: &[u8]) -> bool {
    let (mut first, mut length) = (0u32, 0);
    for digit in text.iter().filter(|byte| byte.is_ascii_digit()) {
        length += 1;
        if length <= 4 {
            first = first * 10 + u32::from(digit - b'0');
        }
    }
    match first {
        4000..=4999 => matches!(length, 13 | 16 | 19),
        3400..=3499 | 3700..=3799 => length == 15,
        3000..=3099 | 3600..=3699 | 3800..=3999 => length == 14 || length >= 16,
        3500..=3599 | 5000..=5099 | 5600..=6999 => length >= 16,
        5100..=5599 | 2221..=2720 | 8100..=8299 | 9792 => length == 16,
        2200..=2204 => length >= 16,
        _ => false,
    }
}

/// Whether it is written in one piece, or in groups as cards are printed.
fn is_grouped(text: &[u8]) -> bool {
    let (mut groups, mut count, mut length) = ([0; 5], 0, 0);
    let mut mark = None;
    let mut is_even = true;
    for at in 0..=text.len() {
        match text.get(at) {
            Some(byte) if byte.is_ascii_digit() => length += 1,
            other => {
                // A blank of more than one byte ends a group once.
                if length > 0 {
                    if count == groups.len() {
                        return false;
                    }
                    groups[count] = length;
                    count += 1;
                    length = 0;
                    is_even &= other.is_none() || *mark.get_or_insert(other) == other;
                }
            }
        }
    }
    let is_printed = match &groups[..count] {
        [_] | [4, 6, 4 | 5] | [6, 13] => true,
        [4, 4, 4, rest @ ..] => matches!(rest, [4] | [4, 1..=3] | [1..=3]),
        _ => false,
    };
    is_even && is_printed
}

/// An account's number.
fn iban(text: &[u8], passes: impl FnOnce() -> bool) -> Verdict {
    let length = || text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    let is_real = passes() && country_length(text).is_some_and(|wanted| usize::from(wanted) == length());
    if is_real { Verdict::Yes } else { Verdict::No }
}

/// How many letters and digits an account has in the country that it begins with (the registry of ISO 13616, and what banks
/// use beside it).
fn country_length(text: &[u8]) -> Option<u8> {
    const LENGTHS: &[u8] = b"AD24AE23AL28AO25AT20AZ28BA20BE16BF28BG22BH22BI27BJ28BR29BY28CF27CG27CH21CI28CM27CR22CV25\
        CY28CZ24DE22DJ27DK18DO28DZ26EE20EG29ES24FI18FK18FO18FR27GA27GB22GE22GI23GL18GQ27GR27GT28GW25HN28HR21HU28IE22IL23\
        IQ23IR26IS26IT27JO30KM27KW30KZ20LB28LC32LI21LT20LU20LV21LY25MA28MC27MD24ME22MG27MK19ML28MN20MR27MT31MU30MZ25NE28\
        NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SN28SO23ST25SV28TD27TG28TL23TN24TR26\
        UA29VA22VG24XK20YE30";
    let country = text.get(..2)?;
    let (countries, _) = LENGTHS.as_chunks::<4>();
    let [_, _, tens, ones] = countries.iter().find(|it| it[..2].eq_ignore_ascii_case(country))?;
    Some((tens - b'0') * 10 + (ones - b'0'))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(byte: &u8) -> Option<u32> {
        char::from(*byte).to_digit(36)
    }

    fn luhn_by_hand(text: &[u8]) -> bool {
        let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
        let digits = text.iter().filter(|byte| byte.is_ascii_digit()).filter_map(value).rev().enumerate();
        let sum: u32 = digits.map(|(at, digit)| if at % 2 == 1 { doubled(digit) } else { digit }).sum();
        sum.is_multiple_of(10)
    }

    fn mod_97_by_hand(text: &[u8]) -> bool {
        let bare: Vec<u32> = text.iter().filter_map(value).collect();
        let moved = bare.iter().skip(4).chain(bare.iter().take(4));
        moved.fold(0, |rest, value| (rest * if *value < 10 { 10 } else { 100 } + value) % 97) == 1
    }

    /// The check, made from the text alone.
    pub(crate) fn by_hand(check: Check, text: &[u8]) -> Verdict {
        match check {
            Check::Card => card(text, || luhn_by_hand(text)),
            Check::Iban => iban(text, || mod_97_by_hand(text)),
            Check::Phone => phone::verdict(text),
        }
    }

    proptest! {
        #[test]
        fn sums_of_two_places_tell_what_a_check_of_the_text_between_them_does(
            before in "[ -~]{0,40}", number in "[1-9]( ?[0-9]){12,18}", account in "[a-z]{2}[0-9]{2}( ?[a-z0-9]){11,30}",
        ) {
            for (is_card, text) in [(true, number), (false, account)] {
                let mut sums = Sums::default();
                before.bytes().for_each(|byte| sums.add(byte));
                let began = sums;
                text.bytes().for_each(|byte| sums.add(byte));
                let text = text.as_bytes();
                match is_card {
                    true => prop_assert_eq!(luhn(&began, &sums), luhn_by_hand(text)),
                    false => prop_assert_eq!(mod_97(text, &began, &sums), mod_97_by_hand(text)),
                }
            }
        }
    }

    #[test]
    fn real_numbers_pass() {
        for (check, text) in [(Check::Card, "4111 1111 1111 1111"), (Check::Iban, "GB82 WEST 1234 5698 7654 32")] {
            let mut sums = Sums::default();
            text.bytes().for_each(|byte| sums.add(byte));
            assert_eq!(check.verdict(text.as_bytes(), &Sums::default(), &sums), Verdict::Yes);
        }
    }
}
