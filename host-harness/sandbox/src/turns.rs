//! Turns: how many calls run at a time, and how many wait for it. Those of one
//! workspace hold a part of a process's places at most, running and waiting, so
//! that a flood of one keeps no other from its turn.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More calls wait for their turn than the host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls wait for their turn")]
pub struct Saturated;

/// The turns of a process, or those of one workspace. They are given in the
/// order of arrival.
pub struct Turns {
    running: usize,
    waiting: usize,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// How many calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// Those that run.
    pub running: usize,
    /// Those that wait for their turn.
    pub waiting: usize,
}

impl Turns {
    /// For `running` calls at a time, while `waiting` more wait.
    pub fn new(running: usize, waiting: usize) -> Self {
        let running = running.min(Semaphore::MAX_PERMITS / 2);
        let waiting = waiting.min(Semaphore::MAX_PERMITS / 2);
        Self {
            running,
            waiting,
            places: Arc::new(Semaphore::new(running + waiting)),
            turns: Arc::new(Semaphore::new(running)),
        }
    }

    /// The turns of one workspace among these: `running` at a time, and a quarter
    /// of those that wait.
    pub fn share(&self, running: usize) -> Self {
        Self::new(running, self.waiting.div_ceil(4))
    }

    /// How many calls there are now.
    pub fn crowd(&self) -> Crowd {
        let running = self.running - self.turns.available_permits();
        let all = self.running + self.waiting - self.places.available_permits();
        Crowd {
            running,
            waiting: all.saturating_sub(running),
        }
    }

    /// Waits for a turn among a workspace's own calls, and then among all.
    ///
    /// # Errors
    ///
    /// [`Saturated`] when too many wait already.
    pub async fn turn(&self, all: &Self) -> Result<Turn, Saturated> {
        let places = [self.place()?, all.place()?];
        let own = self.turns.clone().acquire_owned().await;
        let of_all = all.turns.clone().acquire_owned().await;
        Ok(Turn {
            _turns: [own.map_err(|_| Saturated)?, of_all.map_err(|_| Saturated)?],
            _places: places,
        })
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Saturated> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_| Saturated)
    }
}

/// The right to run one call.
pub struct Turn {
    _turns: [OwnedSemaphorePermit; 2],
    _places: [OwnedSemaphorePermit; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Turn, Saturated>> + 'a>>;

    fn arrive<'a>(own: &'a Turns, all: &'a Turns) -> Waiting<'a> {
        let mut turn: Waiting<'a> = Box::pin(own.turn(all));
        assert!(poll(&mut turn).is_pending());
        turn
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(future).poll(&mut context)
    }

    fn now(own: &Turns, all: &Turns) -> Result<Turn, Saturated> {
        match poll(&mut pin!(own.turn(all))) {
            Poll::Ready(turn) => turn,
            Poll::Pending => panic!("it has to wait"),
        }
    }

    #[test]
    fn the_crowd_that_waits_is_bounded() {
        let all = Turns::new(1, 4);
        let (first, second) = (all.share(8), all.share(8));
        let _running = now(&first, &all).unwrap();
        let waiting = [arrive(&second, &all)];
        let crowd = all.crowd();
        assert_eq!((crowd.running, crowd.waiting), (1, 1));
        let others: Vec<_> = (0..3).map(|_| arrive(&first, &all)).collect();
        assert_eq!(now(&second, &all).err(), Some(Saturated));
        drop((waiting, others));
        assert_eq!(all.crowd().waiting, 0);
    }

    #[test]
    fn a_workspace_holds_its_share_of_places_and_of_the_crowd() {
        let all = Turns::new(4, 8);
        let (flooded, calm) = (all.share(2), all.share(2));
        let running = [now(&flooded, &all).unwrap(), now(&flooded, &all).unwrap()];
        let waiting = [arrive(&flooded, &all), arrive(&flooded, &all)];
        assert_eq!(now(&flooded, &all).err(), Some(Saturated));
        assert!(now(&calm, &all).is_ok(), "another workspace does not wait");
        drop((running, waiting));
        assert!(now(&flooded, &all).is_ok());
    }

    #[test]
    fn turns_come_in_the_order_of_arrival() {
        let all = Turns::new(1, 8);
        let (flooded, calm) = (all.share(1), all.share(1));
        let running = now(&flooded, &all).unwrap();
        let mut late = arrive(&flooded, &all);
        let mut calm_ones = arrive(&calm, &all);
        drop(running);
        // It asked among all before the flooded workspace's next did.
        assert!(poll(&mut late).is_pending());
        let Poll::Ready(turn) = poll(&mut calm_ones) else {
            panic!("it is the calm workspace's turn");
        };
        drop(turn);
        assert!(poll(&mut late).is_ready());
    }
}
