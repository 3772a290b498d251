//! Where the book's links lead: to pages and their headings, and to files of the repository, which are put into the book, since it
//! may be read anywhere. Links to other places are looked at, and not followed: the check needs no network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::markup::{attributes, decoded, is_well_formed, links};

/// Pages that mdBook makes of the others.
const MADE: [&str; 3] = ["print.html", "toc.html", "404.html"];
/// The folder of the book for files of the repository.
const REPOSITORY: &str = "repository";

/// The pages of the book, by their files: where they lead and what can be led to.
struct Pages {
    book: PathBuf,
    found: BTreeMap<PathBuf, Page>,
}

struct Page {
    links: Vec<String>,
    ids: BTreeSet<String>,
    /// Scripts and links find one of two things with the same name.
    twice: Vec<String>,
}

/// Checks all links; those to files of the repository lead to copies of them afterwards.
pub fn check(checkout: &Path, book: &Path) -> Result<()> {
    let pages = Pages::read(book)?;
    let source = checkout.join("docs/src");
    let (mut faults, mut count) = (Vec::new(), 0);
    for (file, page) in &pages.found {
        let name = file.strip_prefix(book).unwrap_or(file);
        let folder = name.parent().unwrap_or(Path::new(""));
        faults.extend(page.twice.iter().map(|id| format!("{}: two things have the id {id}", name.display())));
        for link in &page.links {
            count += 1;
            let Err(fault) = pages.leads(file, link) else { continue };
            match of_repository(checkout, &source.join(folder).join(decoded(link))) {
                Some(original) => include(file, link, checkout, &original, book)?,
                None => faults.push(format!("{}: {link}: {fault}", name.display())),
            }
        }
    }
    for file in beside(checkout)? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for link in links(&text) {
            count += 1;
            if let Err(fault) = leads(checkout, &pages, &file, &link) {
                faults.push(format!("{}: {link}: {fault}", file.strip_prefix(checkout).unwrap_or(&file).display()));
            }
        }
    }
    if !faults.is_empty() {
        bail!("{} faults in links:\n{}", faults.len(), faults.join("\n"));
    }
    println!("{count} links of {} pages lead somewhere; those to other places were not followed", pages.found.len());
    Ok(())
}

impl Pages {
    fn read(book: &Path) -> Result<Pages> {
        let mut found = BTreeMap::new();
        for file in files(book, "html")? {
            if MADE.iter().any(|made| file.ends_with(made)) {
                continue;
            }
            let html = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let mut page = Page { links: Vec::new(), ids: BTreeSet::new(), twice: Vec::new() };
            for (name, value) in attributes(&html) {
                match name.as_str() {
                    "href" | "src" => page.links.push(value),
                    "id" if !page.ids.insert(value.clone()) => page.twice.push(value),
                    _ => {}
                }
            }
            found.insert(resolved(&file), page);
        }
        Ok(Pages { book: resolved(book), found })
    }

    /// Whether a link of a page leads to a page, a heading or a file of the book, or is a URL.
    fn leads(&self, from: &Path, link: &str) -> Result<(), String> {
        if link.contains("://") {
            return is_well_formed(link).then_some(()).ok_or_else(|| "this is no URL".to_owned());
        }
        if link.starts_with("mailto:") || link.starts_with("data:") {
            return Ok(());
        }
        let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
        let file = match path {
            "" => from.to_owned(),
            path => resolved(&from.parent().unwrap_or(from).join(decoded(path))),
        };
        if !file.starts_with(&self.book) {
            return Err("it leads out of the book".to_owned());
        }
        match (self.found.get(&file), heading) {
            (Some(_), None | Some("")) => Ok(()),
            (Some(page), Some(heading)) if page.ids.contains(&decoded(heading)) => Ok(()),
            (Some(_), Some(heading)) => Err(format!("the page has no heading #{heading}")),
            (None, _) if file.is_file() => Ok(()),
            (None, _) => Err("there is no such file".to_owned()),
        }
    }
}

/// The file of the repository that a link leads to. mdBook takes all Markdown for pages of its own.
fn of_repository(checkout: &Path, path: &Path) -> Option<PathBuf> {
    let path = resolved(path);
    let markdown = path.extension().filter(|extension| *extension == "html").map(|_| path.with_extension("md"));
    [Some(path), markdown].into_iter().flatten().find(|file| file.starts_with(checkout) && file.is_file())
}

/// Copies a file of the repository into the book, and has a page lead there.
fn include(page: &Path, link: &str, checkout: &Path, original: &Path, book: &Path) -> Result<()> {
    let within = Path::new(REPOSITORY).join(original.strip_prefix(checkout).unwrap_or(original));
    let copy = book.join(&within);
    fs::create_dir_all(copy.parent().unwrap_or(book))?;
    fs::copy(original, &copy).with_context(|| copy.display().to_string())?;
    let depth = page.strip_prefix(book).unwrap_or(page).components().count() - 1;
    let target = format!("{}{}", "../".repeat(depth), within.display());
    let html = fs::read_to_string(page)?;
    let html = html.replace(&format!("href=\"{link}\""), &format!("href=\"{target}\""));
    fs::write(page, html).with_context(|| page.display().to_string())
}

/// The Markdown of the repository that is not in the book.
fn beside(checkout: &Path) -> Result<Vec<PathBuf>> {
    let mut found = files(&checkout.join("demos"), "md")?;
    found.extend(files(&checkout.join("docs"), "md")?);
    found.retain(|file| !file.starts_with(checkout.join("docs/src")));
    for entry in fs::read_dir(checkout)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "md") {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a link of a Markdown file leads to a file or folder, and to a heading where that is a page of the book.
fn leads(checkout: &Path, pages: &Pages, from: &Path, link: &str) -> Result<(), String> {
    if link.contains("://") {
        return is_well_formed(link).then_some(()).ok_or_else(|| "this is no URL".to_owned());
    }
    let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
    let file = resolved(&from.parent().unwrap_or(from).join(decoded(path)));
    if !path.is_empty() && !file.exists() {
        return Err("there is no such file".to_owned());
    }
    let page = file.strip_prefix(checkout.join("docs/src")).map(|page| pages.book.join(page).with_extension("html"));
    match (page, heading) {
        (Ok(page), Some(heading)) => pages.leads(&page, &format!("#{heading}")),
        _ => Ok(()),
    }
}

/// The files in a folder and its folders that end so.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|of_file| of_file == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A path without `.` and `..`, which need not exist.
fn resolved(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = found.pop(),
            part => found.push(part),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_pages_headings_and_files() {
        let folder = std::env::temp_dir().join(format!("tidegate-links-{}", std::process::id()));
        let [checkout, book] = ["checkout", "book"].map(|name| folder.join(name));
        for made in [checkout.join("docs/src"), checkout.join("docs/adr"), checkout.join("demos"), book.join("sub")] {
            fs::create_dir_all(made).unwrap();
        }
        fs::write(checkout.join("docs/alerts.yml"), "alerts").unwrap();
        fs::write(book.join("sub/b.html"), "<h2 id=\"head\"></h2><a href=\"../a.html\">").unwrap();
        let page = |links: &[&str]| {
            let text: String = links.iter().map(|link| format!("<a href=\"{link}\"></a>")).collect();
            fs::write(book.join("a.html"), text).unwrap();
        };
        fs::write(checkout.join("docs/adr/0001.md"), "why").unwrap();
        page(&["sub/b.html#head", "#", "https://example.com/x", "../alerts.yml", "../adr/0001.html"]);
        check(&checkout, &book).unwrap();
        assert_eq!(fs::read_to_string(book.join("repository/docs/adr/0001.md")).unwrap(), "why");
        assert_eq!(fs::read_to_string(book.join("repository/docs/alerts.yml")).unwrap(), "alerts");
        assert!(fs::read_to_string(book.join("a.html")).unwrap().contains("href=\"repository/docs/alerts.yml\""));
        page(&["sub/b.html#other", "c.html", "../../outside", "https://"]);
        let error = check(&checkout, &book).unwrap_err().to_string();
        assert!(error.starts_with("4 faults in links"), "{error}");
        fs::write(checkout.join("README.md"), "[there](docs/alerts.yml) [not](docs/none.md)").unwrap();
        page(&[]);
        let error = check(&checkout, &book).unwrap_err().to_string();
        assert_eq!(error, "1 faults in links:\nREADME.md: docs/none.md: there is no such file");
        fs::remove_dir_all(folder).unwrap();
    }
}
