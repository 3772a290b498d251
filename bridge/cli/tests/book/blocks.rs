//! The blocks of a page, in their order, and what each says of itself behind the name of its language.

use std::fs;
use std::path::Path;

/// What a block is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// A pipeline file, or a part of one.
    Toml,
    /// DuckDB's SQL.
    Sql,
    /// Bash.
    Sh,
    /// Commands after `$ `, each with what it prints.
    Console,
    /// One value, or one a line.
    Json,
    /// What is not to be run.
    Text,
    /// What no test runs here.
    Other,
}

/// What becomes of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// What its language says.
    Run,
    /// Nothing, for a reason that stands there.
    Ignored,
    /// A test runs it, which names the page.
    Held(String),
    /// It is a file of the repository.
    Same(String),
}

/// A block of code.
#[derive(Debug)]
pub struct Block {
    /// Of its fence, counted from one.
    pub line: usize,
    pub language: Language,
    pub fate: Fate,
    /// It is written into the page's folder under this name.
    pub file: Option<String>,
    /// Its statements are views, which are checked.
    pub view: bool,
    /// It is what the block before printed.
    pub output: bool,
    /// A variable that it names, and its value.
    pub value: Option<(String, String)>,
    /// The exit code that it ends with.
    pub exit: i32,
    pub text: String,
}

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Its path in the repository.
    pub name: String,
    pub blocks: Vec<Block>,
    /// `<!-- needs postgres -->` stands there.
    pub needs_postgres: bool,
    /// What is wrong with its marks.
    pub faults: Vec<String>,
}

impl Page {
    /// Reads a page.
    pub fn read(repository: &Path, file: &Path) -> Page {
        let name = file.strip_prefix(repository).unwrap_or(file).display().to_string();
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{name}: {error}"));
        Page::parse(name, &text)
    }

    fn parse(name: String, text: &str) -> Page {
        let mut page = Page { name, blocks: Vec::new(), needs_postgres: false, faults: Vec::new() };
        let mut lines = text.lines().enumerate();
        let (mut before, mut is_list, mut is_html) = ("", false, false);
        while let Some((number, line)) = lines.next() {
            let inside = line.trim_start();
            let indent = line.len() - inside.len();
            if inside.starts_with("```") {
                let ticks = inside.len() - inside.trim_start_matches('`').len();
                let (fence, info) = inside.split_at(ticks);
                page.take(number + 1, info, until(&mut lines, indent, |line| line == fence));
            } else if let Some(info) = line.strip_prefix("<!-- run ") {
                page.take(number + 1, info, until(&mut lines, 0, |line| line == "-->"));
            } else if line == "<!-- needs postgres -->" {
                page.needs_postgres = true;
            } else if indent >= 4 && before.is_empty() && !inside.is_empty() && !is_list && !is_html {
                page.fault(number + 1, "an indented block has no language: put it between fences");
                let _ = lines.find(|(_, line)| line.is_empty());
            } else if indent == 0 && !inside.is_empty() {
                is_list = inside.starts_with("- ") || inside.starts_with(|first: char| first.is_ascii_digit());
                is_html = is_html && !inside.starts_with("</script>")
                    || inside.starts_with("<script") && !inside.contains("</script>");
            }
            before = line;
        }
        page
    }

    fn fault(&mut self, line: usize, message: &str) {
        self.faults.push(format!("{}:{line}: {message}", self.name));
    }

    fn take(&mut self, line: usize, info: &str, text: Option<String>) {
        let Some(text) = text else { return self.fault(line, "the block has no end") };
        match marked(line, info.trim(), text) {
            Ok(block) => self.blocks.push(block),
            Err(fault) => self.fault(line, &fault),
        }
    }
}

/// The lines up to an end; without one, none.
fn until<'l>(
    lines: &mut impl Iterator<Item = (usize, &'l str)>,
    indent: usize,
    is_end: impl Fn(&str) -> bool,
) -> Option<String> {
    let mut text = String::new();
    for (_, line) in lines {
        if is_end(line.trim()) {
            return Some(text);
        }
        let own = line.len() - line.trim_start().len();
        text.push_str(&line[own.min(indent)..]);
        text.push('\n');
    }
    None
}

/// A block by what stands behind its fence: the language, and marks.
fn marked(line: usize, info: &str, text: String) -> Result<Block, String> {
    let (name, marks) = info.split_once(' ').unwrap_or((info, ""));
    let language = match name {
        "toml" => Language::Toml,
        "sql" => Language::Sql,
        "sh" => Language::Sh,
        "console" => Language::Console,
        "json" => Language::Json,
        "text" => Language::Text,
        "python" | "yaml" | "ini" | "rust" | "dockerfile" => Language::Other,
        "" => return Err("the block has no language; `text` is for what is not to be run".to_owned()),
        other => return Err(format!("the language `{other}` is not known here")),
    };
    let mut block =
        Block { line, language, fate: Fate::Run, file: None, view: false, output: false, value: None, exit: 0, text };
    // A reason and a value go on to the end of the line.
    let (marks, value) = marks.split_once("set=").map_or((marks, None), |(marks, value)| (marks, Some(value.trim())));
    if let Some(value) = value {
        let (name, value) = value.split_once('=').ok_or_else(|| format!("`set={value}` gives no value"))?;
        block.value = Some((name.to_owned(), value.to_owned()));
    }
    let (marks, ignored) = marks.split_once("ignore=").map_or((marks, None), |(marks, why)| (marks, Some(why.trim())));
    for mark in marks.split_whitespace() {
        match mark.split_once('=').unwrap_or((mark, "")) {
            ("held", test) => block.fate = Fate::Held(test.to_owned()),
            ("same", file) => block.fate = Fate::Same(file.to_owned()),
            ("file", file) if !file.is_empty() => block.file = Some(file.to_owned()),
            ("view", "") if language == Language::Sql => block.view = true,
            ("output", "") if language == Language::Text => block.output = true,
            ("exit", code) if language == Language::Sh => {
                block.exit = code.parse().map_err(|_| format!("`{mark}` is no exit code"))?;
            }
            _ => return Err(format!("`{mark}` is no mark of a block in {name}")),
        }
    }
    match ignored {
        Some("") => Err("`ignore=` says why the block is not run".to_owned()),
        Some(_) if block.fate != Fate::Run || !marks.trim().is_empty() => {
            Err("`ignore=` is for a block with which nothing else is done".to_owned())
        }
        Some(_) => Ok(Block { fate: Fate::Ignored, ..block }),
        None => Ok(block),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Page {
        Page::parse("page.md".to_owned(), text)
    }

    #[test]
    fn blocks_are_found_with_their_marks() {
        let page = parse(
            "# A page\n\n```sh exit=2\nfalse\n```\n\n1. A list:\n\n    of two\n\n   ```sql view\n   SELECT 1;\n   ```\n\n<!-- run sql\nSELECT 2;\n-->\n\n<!-- needs postgres -->\n\n```toml ignore=it is an example\na = 1\n```\n",
        );
        assert_eq!(page.faults, Vec::<String>::new());
        assert!(page.needs_postgres);
        let found: Vec<_> = page.blocks.iter().map(|block| (block.line, block.language, block.text.as_str())).collect();
        let expected = [
            (3, Language::Sh, "false\n"),
            (11, Language::Sql, "SELECT 1;\n"),
            (15, Language::Sql, "SELECT 2;\n"),
            (21, Language::Toml, "a = 1\n"),
        ];
        assert_eq!(found, expected);
        assert_eq!((page.blocks[0].exit, page.blocks[1].view), (2, true));
        assert_eq!((&page.blocks[2].fate, &page.blocks[3].fate), (&Fate::Run, &Fate::Ignored));
    }

    #[test]
    fn what_nobody_says_is_a_fault() {
        for (text, says) in [
            ("```\nx\n```\n", "has no language"),
            ("```bash\nx\n```\n", "`bash` is not known"),
            ("```sh quietly\nx\n```\n", "`quietly` is no mark"),
            ("```sh ignore=\nx\n```\n", "says why"),
            ("```toml file=a.toml ignore=because\nx\n```\n", "nothing else"),
            ("```sh\nx\n", "has no end"),
            ("Words:\n\n    x\n", "indented"),
        ] {
            let page = parse(text);
            assert!(page.faults.len() == 1 && page.faults[0].contains(says), "{text}: {:?}", page.faults);
            assert!(page.blocks.is_empty());
        }
    }
}
