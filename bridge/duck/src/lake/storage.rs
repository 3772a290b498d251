//! How DuckDB gets at data files on S3: by a secret made of the usual AWS environment.

use crate::quote_literal;

/// The statement that makes DuckDB's secret from AWS variables, and what of it must not be shown;
/// `None` where no variable says anything. The variables are those that object stores of the
/// pipeline are opened with.
pub fn s3_secret(variable: impl Fn(&str) -> Option<String>) -> Option<(String, Vec<String>)> {
    let set = |names: &[&str]| names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
    let mut options = Vec::new();
    let mut secrets = Vec::new();
    let shown = [("KEY_ID", &["AWS_ACCESS_KEY_ID"][..]), ("REGION", &["AWS_REGION", "AWS_DEFAULT_REGION"][..])];
    for (option, names) in shown {
        options.extend(set(names).map(|value| format!("{option} {}", quote_literal(&value))));
    }
    for (option, name) in [("SECRET", "AWS_SECRET_ACCESS_KEY"), ("SESSION_TOKEN", "AWS_SESSION_TOKEN")] {
        if let Some(value) = set(&[name]) {
            options.push(format!("{option} {}", quote_literal(&value)));
            secrets.push(value);
        }
    }
    if let Some(endpoint) = set(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]) {
        let (scheme, place) = endpoint.split_once("://").unwrap_or(("https", &endpoint));
        let place = quote_literal(place.trim_end_matches('/'));
        options.push(format!("ENDPOINT {place}, URL_STYLE 'path', USE_SSL {}", scheme != "http"));
    }
    let statement = || format!("CREATE OR REPLACE SECRET tidegate_s3 (TYPE s3, {})", options.join(", "));
    (!options.is_empty()).then(|| (statement(), secrets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_becomes_a_secret() {
        let variable = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some("id".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("hu'sh".to_owned()),
            "AWS_ENDPOINT" => Some("http://localhost:9000/".to_owned()),
            _ => None,
        };
        let (statement, secrets) = s3_secret(variable).unwrap();
        assert_eq!(
            statement,
            "CREATE OR REPLACE SECRET tidegate_s3 (TYPE s3, KEY_ID 'id', SECRET 'hu''sh', \
             ENDPOINT 'localhost:9000', URL_STYLE 'path', USE_SSL false)"
        );
        assert_eq!(secrets, ["hu'sh"]);
        assert!(s3_secret(|_| None).is_none());
    }
}
