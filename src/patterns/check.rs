//! Check: whether digits that look like a number of some kind are one. It takes the same time however long the number is: the
//! sums of a text up to two places tell that of what stands between them.
//!
//! It does not know where numbers begin and end.

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// The check of card numbers (ISO/IEC 7812-1, annex B).
    Luhn,
    /// The check of account numbers (ISO 7064, MOD 97-10).
    Mod97,
    /// That it does not begin like `01.02.2026`, or like the rest of it.
    NoDate,
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
    /// Whether a text passes that stands between two places.
    pub(super) fn passes(self, text: &[u8], before: &Sums, after: &Sums) -> bool {
        match self {
            Check::Luhn => {
                // The last digit is not doubled.
                let last = usize::from(1 - after.digits);
                after.luhn[last] == before.luhn[last]
            }
            Check::Mod97 => {
                let mut with_moved = *before;
                let moved = text.iter().take(MOVED);
                moved.for_each(|byte| with_moved.add(*byte));
                let rest = after.number_since(&with_moved);
                (rest * POWERS[MOVED_DIGITS] + with_moved.number_since(before)) % 97 == 1
            }
            Check::NoDate => is_no_date(text),
        }
    }
}

/// False for what begins like `01.02.2026`, or like the rest of it.
fn is_no_date(text: &[u8]) -> bool {
    let [a, b, mark, rest @ ..] = text else { return true };
    let is_part = [a, b].iter().all(|byte| byte.is_ascii_digit()) && b"./-".contains(mark);
    let is_date = || {
        begins_with_year(rest)
            || matches!(rest, [c, d, again, year @ ..]
                if [c, d].iter().all(|byte| byte.is_ascii_digit()) && again == mark && begins_with_year(year))
    };
    !(is_part && is_date())
}

fn begins_with_year(text: &[u8]) -> bool {
    let is_near = text.starts_with(b"19") || text.starts_with(b"20");
    is_near && text.iter().take_while(|byte| byte.is_ascii_digit()).count() == 4
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The check, made from the text alone.
    pub(crate) fn by_hand(check: Check, text: &[u8]) -> bool {
        let value = |byte: &u8| char::from(*byte).to_digit(36);
        match check {
            Check::Luhn => {
                let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
                let digits = text.iter().filter(|byte| byte.is_ascii_digit()).filter_map(value).rev().enumerate();
                let sum: u32 = digits.map(|(at, digit)| if at % 2 == 1 { doubled(digit) } else { digit }).sum();
                sum.is_multiple_of(10)
            }
            Check::Mod97 => {
                let bare: Vec<u32> = text.iter().filter_map(value).collect();
                let moved = bare.iter().skip(4).chain(bare.iter().take(4));
                moved.fold(0, |rest, value| (rest * if *value < 10 { 10 } else { 100 } + value) % 97) == 1
            }
            Check::NoDate => is_no_date(text),
        }
    }

    proptest! {
        #[test]
        fn sums_of_two_places_tell_what_a_check_of_the_text_between_them_does(
            before in "[ -~]{0,40}", number in "[1-9]( ?[0-9]){12,18}", account in "[a-z]{2}[0-9]{2}( ?[a-z0-9]){11,30}",
        ) {
            for (check, text) in [(Check::Luhn, number), (Check::Mod97, account)] {
                let mut sums = Sums::default();
                before.bytes().for_each(|byte| sums.add(byte));
                let began = sums;
                text.bytes().for_each(|byte| sums.add(byte));
                prop_assert_eq!(check.passes(text.as_bytes(), &began, &sums), by_hand(check, text.as_bytes()), "{}", text);
            }
        }
    }

    #[test]
    fn real_numbers_pass() {
        for (check, text) in [(Check::Luhn, "4111 1111 1111 1111"), (Check::Mod97, "GB82 WEST 1234 5698 7654 32")] {
            let mut sums = Sums::default();
            text.bytes().for_each(|byte| sums.add(byte));
            assert!(check.passes(text.as_bytes(), &Sums::default(), &sums));
        }
    }
}
