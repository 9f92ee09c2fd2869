//! A set of tasks that are joined in the order in which they end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::{fmt, mem};

use super::{AbortHandle, JoinError, JoinHandle, spawn};

/// Tasks that return the same type, joined as they end.
///
/// Joining costs the same however many tasks there are: a task that ends notes its place in the list of those to look
/// at. Dropping the set aborts all its tasks.
///
/// ```
/// use hayase_executor::{Executor, JoinSet};
///
/// let executor = Executor::new().unwrap();
/// let sum: u32 = executor.block_on(&(), async {
///     let mut set = JoinSet::new();
///     for n in 1..=10 {
///         set.spawn(async move { n });
///     }
///     let mut sum = 0;
///     while let Some(result) = set.join_next().await {
///         sum += result.unwrap();
///     }
///     sum
/// });
/// assert_eq!(sum, 55);
/// ```
pub struct JoinSet<T> {
    members: Vec<Option<Member<T>>>,
    vacant: Vec<usize>,
    ended: Arc<Ended>,
}

struct Member<T> {
    handle: JoinHandle<T>,
    waker: Waker,
}

/// Which members to look at, and who wants to know.
#[derive(Default)]
struct Ended(Mutex<EndedState>);

#[derive(Default)]
struct EndedState {
    members: VecDeque<usize>,
    waker: Option<Waker>,
}

/// The waker of a member.
struct Note {
    member: usize,
    ended: Arc<Ended>,
}

impl Ended {
    fn lock(&self) -> MutexGuard<'_, EndedState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ended = self.ended.lock();
        ended.members.push_back(self.member);
        let waker = ended.waker.take();
        drop(ended);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> JoinSet<T> {
    /// An empty set.
    #[must_use]
    pub fn new() -> JoinSet<T> {
        JoinSet { members: Vec::new(), vacant: Vec::new(), ended: Arc::default() }
    }

    /// Number of tasks that have not been joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len() - self.vacant.len()
    }

    /// Whether all tasks have been joined.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a task, which may also be one of another core.
    pub fn insert(&mut self, handle: JoinHandle<T>) -> AbortHandle {
        let abort = handle.abort_handle();
        let member = self.vacant.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        let waker = Waker::from(Arc::new(Note { member, ended: self.ended.clone() }));
        // The first look leaves the waker with the task.
        waker.wake_by_ref();
        self.members[member] = Some(Member { handle, waker });
        abort
    }

    /// Waits for the next task to end. `None` if the set is empty. Cancel safe.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// Takes the output of a task that has ended. `None` if there is none at present.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        while let Some(member) = self.pop_ended() {
            let result = self.look_at(member);
            if result.is_some() {
                return result;
            }
        }
        None
    }

    /// As [`join_next`](Self::join_next).
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        while let Some(member) = self.next_ended(cx) {
            if let Some(result) = self.look_at(member) {
                return Poll::Ready(Some(result));
            }
        }
        Poll::Pending
    }

    /// The next member to look at. Whoever waits goes on waiting.
    fn pop_ended(&self) -> Option<usize> {
        self.ended.lock().members.pop_front()
    }

    /// The next member to look at. If there is none, the caller will be woken.
    fn next_ended(&self, cx: &mut Context<'_>) -> Option<usize> {
        let mut ended = self.ended.lock();
        let member = ended.members.pop_front();
        let is_known = || ended.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if member.is_some() || is_known() {
            return member;
        }
        drop(ended);
        // To clone and to drop a waker may run code of users, and so happens with nothing locked.
        let waker = cx.waker().clone();
        let mut ended = self.ended.lock();
        let member = ended.members.pop_front();
        let unneeded = if member.is_some() { Some(waker) } else { ended.waker.replace(waker) };
        drop(ended);
        drop(unneeded);
        member
    }

    /// The output of a member, if it has ended.
    fn look_at(&mut self, member: usize) -> Option<Result<T, JoinError>> {
        let place = &mut self.members[member];
        let Member { handle, waker } = place.as_mut()?;
        let Poll::Ready(result) = Pin::new(handle).poll(&mut Context::from_waker(waker)) else { return None };
        *place = None;
        self.vacant.push(member);
        Some(result)
    }

    /// Aborts all tasks. They stay in the set until they are joined.
    pub fn abort_all(&mut self) {
        self.members.iter().flatten().for_each(|member| member.handle.abort());
    }

    /// Aborts all tasks and waits until they have ended.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    /// Takes all tasks out of the set and lets them run.
    pub fn detach_all(&mut self) {
        self.vacant.clear();
        drop(mem::take(&mut self.members));
        self.ended = Arc::default();
    }

    /// Waits for all tasks. Their outputs come in the order in which the tasks ended.
    ///
    /// # Panics
    /// With the task's panic if one panicked; also if one was cancelled. The others are aborted.
    pub async fn join_all(mut self) -> Vec<T> {
        let mut outputs = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next().await {
            match result.map_err(JoinError::try_into_panic) {
                Ok(output) => outputs.push(output),
                Err(Ok(payload)) => std::panic::resume_unwind(payload),
                Err(Err(cancelled)) => panic!("{cancelled}"),
            }
        }
        outputs
    }
}

impl<T: 'static> JoinSet<T> {
    /// Spawns a task of the set on this thread's executor.
    ///
    /// # Panics
    /// If there is no executor on this thread.
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        self.insert(spawn(future))
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

/// Spawns the futures, as [`JoinSet::spawn`] does.
impl<T: 'static, F: Future<Output = T> + 'static> FromIterator<F> for JoinSet<T> {
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> JoinSet<T> {
        let mut set = JoinSet::new();
        for future in futures {
            set.spawn(future);
        }
        set
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len()).finish_non_exhaustive()
    }
}
