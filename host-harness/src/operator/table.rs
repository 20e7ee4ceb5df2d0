//! Columns of text.

/// The blanks between two columns.
const GAP: &str = "  ";

/// The rows, in columns; a row's last cell may be of any length. A control
/// character is written as its escape, so that no name can move the cursor.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| printable(cell)))
        .collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell: &String| cell.chars().count())
            .max()
            .unwrap_or(0)
    });
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(widths);
            let line: String = cells
                .map(|(cell, width)| format!("{cell:width$}{GAP}"))
                .collect();
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

/// As [`aligned`], under a heading.
pub(super) fn headed<const N: usize>(heading: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut all = vec![heading.map(str::to_owned)];
    all.extend(rows);
    aligned(&all)
}

/// The items, separated by commas; a dash where there are none.
pub(super) fn listed<T: AsRef<str>>(items: &[T]) -> String {
    if items.is_empty() {
        return "-".to_owned();
    }
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    items.join(", ")
}

/// A text that moves no cursor and begins no line.
pub(super) fn printable(cell: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    cell.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_cell_moves_the_cursor() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        assert_eq!(
            headed(
                ["A", "B"],
                vec![row("ä\x1b[2J", "1"), row("", "2"), row("3", "")]
            ),
            "A           B\nä\\u{1b}[2J  1\n            2\n3"
        );
    }
}
