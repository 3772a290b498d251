//! Notifications (`LISTEN`, `NOTIFY`) on a connection of their own.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;

use crate::connection::Connection;
use crate::error::PostgresError;
use crate::quote::quote_ident;

impl Connection {
    /// Listens on a channel and wakes `told` at each notification, and once when it begins to listen, because what came before was
    /// not heard. Returns when the connection ends; dropping the future ends it.
    pub async fn listen(&self, channel: &str, told: Arc<Notify>) -> Result<(), PostgresError> {
        const DOING: &str = "listening for notifications";
        let (client, mut connection) = self.connect("").await?;
        let driver = async {
            while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notification(_)) => told.notify_one(),
                    Ok(_) => {}
                    Err(error) => return Err(PostgresError::of(DOING, &error)),
                }
            }
            Ok(())
        };
        let listening = async {
            let listen = format!("LISTEN {}", quote_ident(channel));
            client.batch_execute(&listen).await.map_err(|error| PostgresError::of(DOING, &error))?;
            told.notify_one();
            // The client must live as long as the connection.
            std::future::pending::<Result<(), PostgresError>>().await
        };
        tokio::select! {
            ended = driver => ended,
            failed = listening => failed,
        }
    }
}
