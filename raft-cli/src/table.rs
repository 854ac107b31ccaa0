//! Columns of text.

/// Rows under a heading; each column as wide as its widest cell, two spaces between. Columns named in `right` are set to
/// the right.
pub(crate) fn render(heading: &[&str], right: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = heading
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(name.chars().count())
        })
        .collect();
    let mut out = String::new();
    let heading_row: Vec<String> = heading.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&heading_row).chain(rows) {
        let mut line = String::new();
        for ((cell, width), name) in row.iter().zip(&widths).zip(heading) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            if right.contains(name) {
                line.push_str(&space);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&space);
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["1".to_owned(), "leader".into(), "9".into()],
            vec!["12".into(), "ü".into(), "100".into()],
        ];
        assert_eq!(
            render(&["ID", "ROLE", "LAG"], &["ID", "LAG"], &rows),
            "ID  ROLE    LAG\n 1  leader    9\n12  ü       100\n"
        );
    }
}
