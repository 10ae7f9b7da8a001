//! How is a table printed as Markdown?

/// A table with text in the first column and numbers in the others.
pub struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Self { lines: vec![head] }
    }

    pub fn row(&mut self, name: &str, cells: &[String]) {
        let mut line = vec![name.to_owned()];
        line.extend_from_slice(cells);
        self.lines.push(line);
    }

    pub fn print(&self) {
        let columns = self.lines[0].len();
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, line) in self.lines.iter().enumerate() {
            let mut text = String::new();
            for (column, width) in widths.iter().enumerate() {
                let cell = line.get(column).map_or("", String::as_str);
                match column {
                    0 => text.push_str(&format!("| {cell:width$} |")),
                    _ => text.push_str(&format!(" {cell:>width$} |")),
                }
            }
            println!("{text}");
            if index == 0 {
                let rules = widths.iter().enumerate().map(|(column, width)| match column {
                    0 => format!("| {:-<width$} |", ""),
                    _ => format!(" {:->width$}: |", "", width = width.saturating_sub(1)),
                });
                println!("{}", rules.collect::<String>());
            }
        }
    }
}
