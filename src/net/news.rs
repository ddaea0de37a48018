//! News from the kernel, which come in bursts.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

/// How long a burst is taken to last, as when an interface comes up.
const BURST: Duration = Duration::from_secs(1);

/// Waits for news, and for those that come right behind. Returns whether there can be more.
pub(super) async fn burst(news: &mut BoxStream<'static, ()>) -> bool {
    if news.next().await.is_none() {
        return false;
    }
    let burst = tokio::time::sleep(BURST);
    tokio::pin!(burst);
    loop {
        tokio::select! {
            () = &mut burst => return true,
            more = news.next() => if more.is_none() { return false },
        }
    }
}
