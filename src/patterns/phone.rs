//! Phone numbers: whether grouped digits are a phone number, or something that looks alike: dates, times, versions,
//! coordinates, amounts, bytes.
//!
//! It does not know what surrounds them.

use super::verdict::Verdict;

/// The most digits of a number (E.164), and so the most groups.
const MOST: usize = 15;

/// Behind a group that has not ended.
const NO_MARK: u8 = 1;

/// Digits in groups, and what stands between them.
struct Groups<'a> {
    text: &'a [u8],
    groups: [Group; MOST],
    count: usize,
    digits: usize,
}

/// Some digits side by side.
#[derive(Clone, Copy)]
struct Group {
    /// Their value; of more than nine digits something else.
    value: u32,
    length: u8,
    /// What stands behind it: the only mark, blanks around it omitted; a blank where there is no other, 0 where there are
    /// several.
    mark: u8,
}

impl<'a> Groups<'a> {
    fn read(text: &'a [u8]) -> Self {
        let none = Group { value: 0, length: 0, mark: b' ' };
        let (mut groups, mut count, mut digits) = ([none; MOST], 0, 0);
        let mut own = none;
        for byte in text {
            if byte.is_ascii_digit() {
                if own.length == 0 || own.mark != NO_MARK {
                    if own.length > 0 && count < MOST {
                        groups[count] = own;
                        count += 1;
                    }
                    own = Group { value: 0, length: 0, mark: NO_MARK };
                }
                own.value = own.value.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
                own.length += 1;
                digits += 1;
            } else if own.length > 0 {
                own.mark = match (own.mark, *byte) {
                    (NO_MARK | b' ', byte) => byte,
                    (mark, b' ') => mark,
                    _ => 0,
                };
            }
        }
        if count < MOST {
            groups[count] = own;
            count += 1;
        }
        Self { text, groups, count, digits }
    }

    fn all(&self) -> &[Group] {
        &self.groups[..self.count]
    }

    /// What stands between all groups, if that is the same.
    fn mark(&self) -> Option<u8> {
        let [between @ .., _] = self.all() else { return None };
        let first = between.first()?.mark;
        between.iter().all(|group| group.mark == first).then_some(first)
    }

    fn are(&self, length: u8) -> bool {
        self.all().iter().all(|group| group.length == length)
    }
}

/// Whether it is a phone number.
pub(super) fn verdict(text: &[u8]) -> Verdict {
    let groups = Groups::read(text);
    if is_bytes(&groups) {
        return Verdict::Withdraw;
    }
    let is_other = has_date(&groups)
        || is_serial(&groups)
        || is_span_of_times(&groups)
        || (text.starts_with(b"+") && (is_coordinate(&groups) || is_amount(&groups)));
    if is_other { Verdict::No } else { Verdict::Yes }
}

impl Group {
    fn is_year(self) -> bool {
        self.length == 4 && (1900..2100).contains(&self.value)
    }

    fn is_parted(self) -> bool {
        matches!(self.mark, b'.' | b'/' | b'-')
    }
}

/// A day and a month, in any order.
fn is_day(day: Group, month: Group) -> bool {
    let (first, last) = (day.value.min(month.value), day.value.max(month.value));
    day.length <= 2 && month.length <= 2 && (1..=12).contains(&first) && last <= 31
}

/// `01.02.2026`, `2026-02-01`, `01022026`, or what begins like the rest of one.
fn has_date(groups: &Groups<'_>) -> bool {
    let is_whole = |it: &[Group]| {
        let [a, b, c] = [it[0], it[1], it[2]];
        a.is_parted() && a.mark == b.mark && ((c.is_year() && is_day(a, b)) || (a.is_year() && is_day(b, c)))
    };
    match groups.all() {
        [whole] if whole.length == 8 => {
            let part = |value, length| Group { value, length, mark: b'.' };
            let (day, month) = (part(whole.value / 1_000_000, 2), part(whole.value / 10_000 % 100, 2));
            is_day(day, month) && part(whole.value % 10_000, 4).is_year()
        }
        [day, year, ..] if day.length == 2 && day.is_parted() && year.is_year() => true,
        all => all.windows(3).any(is_whole),
    }
}

/// Addresses of network cards and of networks, versions in equal parts, and bytes in pairs or in fours.
fn is_bytes(groups: &Groups<'_>) -> bool {
    let [first, rest @ ..] = groups.all() else { return false };
    match (groups.count, first.length) {
        (4, 2 | 3) => groups.mark() == Some(b'.') && groups.are(first.length),
        (6.., 2) => groups.are(2) && groups.mark().is_some(),
        (2.., 4) => rest.iter().any(|group| group.value < 1000) && groups.are(4),
        _ => false,
    }
}

/// Numbers that begin with too many zeros, and bits.
fn is_serial(groups: &Groups<'_>) -> bool {
    let mut digits = groups.text.iter().filter(|byte| byte.is_ascii_digit());
    groups.text.starts_with(b"000") || digits.all(|digit| matches!(digit, b'0' | b'1'))
}

/// `09.00 - 17.30`, `01.02. - 03.04.`, `0900-1730`.
fn is_span_of_times(groups: &Groups<'_>) -> bool {
    match groups.all() {
        [a, b, c, _] => groups.are(2) && matches!(a.mark, b'.' | b'/') && c.mark == a.mark && b.mark != a.mark,
        [a, b] => {
            let is_round = |time: u32| time <= 2400 && time % 100 < 60 && time.is_multiple_of(5);
            groups.are(4) && a.mark == b'-' && is_round(a.value) && is_round(b.value)
        }
        _ => false,
    }
}

/// `+52.5200066`: with as many places as positions have. Country codes are parted from numbers alike (RFC 5733, 2.5).
fn is_coordinate(groups: &Groups<'_>) -> bool {
    let [whole, places] = groups.all() else { return false };
    whole.mark == b'.' && whole.value <= 180 && !(8..13).contains(&places.length)
}

/// `+10.000.000`.
fn is_amount(groups: &Groups<'_>) -> bool {
    let [_, rest @ .., last] = groups.all() else { return false };
    let is_in_thousands = groups.mark() == Some(b'.') && last.length == 3 && rest.iter().all(|it| it.length == 3);
    is_in_thousands && (groups.digits <= 9 || last.value == 0)
}
