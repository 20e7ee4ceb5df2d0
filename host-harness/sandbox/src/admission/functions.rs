//! How much work the functions of a component are for a compiler, whose time and memory
//! grow faster than they are long: it follows each variable through each block, and
//! loops in each other once more for every loop around them.
//!
//! The measures are of what was seen to be costly; the figures beside them are those of
//! SpiderMonkey, 9 MB of code, which is the largest program that is known as a plugin.

use super::anatomy::{invalid, within};
use super::problem::Problem;
use wasmparser::{
    BlockType, CompositeInnerType, FunctionBody, FunctionSectionReader, Operator, RecGroup,
};

/// Bytes of one function: SpiderMonkey's largest has 171,628, CPython's 426,843.
const MAX_FUNCTION: usize = 512 * 1024;

/// Results of a function: of C, C++ and Rust it is one. Each call makes a variable of
/// each.
const MAX_RESULTS: usize = 8;

/// Loops of one function: SpiderMonkey has 392. A function of 10,000 took 16 seconds.
const MAX_LOOPS: usize = 1024;

/// Loops in each other. People's programs have a handful; a thousand took 10 seconds and
/// 900 MiB.
const MAX_LOOP_DEPTH: usize = 64;

/// Functions of one module, and function types: SpiderMonkey has 12,683 functions. More are not
/// valid, and each takes up to 16 bytes here before it is looked at.
const MAX_DECLARED: usize = 1_000_000;

/// Variables of one function times its blocks: SpiderMonkey has 411,528. Ten million took
/// 20 seconds and 1.6 GiB.
const MAX_FLOW: usize = 1024 * 1024;

/// The same of all functions together: SpiderMonkey has 7.2 million.
const MAX_ALL_FLOW: usize = 16 * 1024 * 1024;

/// The functions that were looked at, in the module that is.
#[derive(Debug, Default)]
pub(super) struct Functions {
    /// The function types of the module; another type takes and gives nothing.
    types: Vec<Arity>,
    /// The type of each function of the module that has code.
    declared: Vec<u32>,
    /// How many of them were looked at.
    looked_at: usize,
    /// Variables times blocks, of all functions.
    flow: usize,
}

/// How many values a function takes and gives.
#[derive(Clone, Copy, Debug, Default)]
struct Arity {
    params: usize,
    results: usize,
}

/// What one function is made of.
#[derive(Debug, Default)]
struct Flow {
    variables: usize,
    blocks: usize,
    loops: usize,
    /// For each block that is open, whether it is a loop.
    open: Vec<bool>,
    loop_depth: usize,
}

impl Functions {
    /// Begins with a module.
    pub(super) fn begin_module(&mut self) {
        self.types.clear();
        self.declared.clear();
        self.looked_at = 0;
    }

    /// Adds the next of the module's types.
    ///
    /// # Errors
    ///
    /// [`Problem::TooComplex`].
    pub(super) fn add_types(&mut self, group: RecGroup) -> Result<(), Problem> {
        for ty in group.into_types() {
            let arity = match &ty.composite_type.inner {
                CompositeInnerType::Func(ty) => {
                    within("results of a function", ty.results().len(), MAX_RESULTS)?;
                    Arity {
                        params: ty.params().len(),
                        results: ty.results().len(),
                    }
                }
                _ => Arity::default(),
            };
            self.types.push(arity);
            within("types in one module", self.types.len(), MAX_DECLARED)?;
        }
        Ok(())
    }

    /// Adds functions of the module, whose code follows in their order.
    ///
    /// # Errors
    ///
    /// [`Problem::Invalid`] and [`Problem::TooComplex`].
    pub(super) fn declare(&mut self, types: FunctionSectionReader<'_>) -> Result<(), Problem> {
        let found = self.declared.len() + types.count() as usize;
        within("functions in one module", found, MAX_DECLARED)?;
        for ty in types {
            self.declared.push(ty.map_err(invalid)?);
        }
        Ok(())
    }

    /// Looks at the next function.
    ///
    /// # Errors
    ///
    /// [`Problem::Invalid`] and [`Problem::TooComplex`].
    pub(super) fn add(&mut self, body: &FunctionBody<'_>) -> Result<(), Problem> {
        let bytes = body.as_bytes().len();
        within("bytes in one function", bytes, MAX_FUNCTION)?;
        let mut flow = Flow {
            variables: self.next_params(),
            ..Flow::default()
        };
        for locals in body.get_locals_reader().map_err(invalid)? {
            let (count, _) = locals.map_err(invalid)?;
            flow.variables = flow.variables.saturating_add(count as usize);
        }
        for operator in body.get_operators_reader().map_err(invalid)? {
            self.follow(&mut flow, &operator.map_err(invalid)?)?;
        }
        let product = flow.variables.saturating_mul(flow.blocks);
        within("variables times blocks in one function", product, MAX_FLOW)?;
        self.flow = self.flow.saturating_add(product);
        within(
            "variables times blocks in all functions",
            self.flow,
            MAX_ALL_FLOW,
        )
    }

    /// How many parameters the next function has.
    fn next_params(&mut self) -> usize {
        let ty = self.declared.get(self.looked_at);
        self.looked_at += 1;
        ty.map_or(0, |ty| self.arity(*ty).params)
    }

    /// None of a type that there is not, which is not valid.
    fn arity(&self, ty: u32) -> Arity {
        self.types.get(ty as usize).copied().unwrap_or_default()
    }

    fn follow(&self, flow: &mut Flow, operator: &Operator<'_>) -> Result<(), Problem> {
        match operator {
            Operator::Loop { blockty } => {
                flow.loops += 1;
                within("loops in one function", flow.loops, MAX_LOOPS)?;
                flow.loop_depth += 1;
                within("loops in each other", flow.loop_depth, MAX_LOOP_DEPTH)?;
                flow.enter(self.values(*blockty), true);
            }
            Operator::Block { blockty } | Operator::If { blockty } => {
                flow.enter(self.values(*blockty), false);
            }
            Operator::End => flow.leave(),
            Operator::Else | Operator::BrIf { .. } => flow.blocks += 1,
            Operator::BrTable { targets } => flow.blocks += targets.len() as usize,
            _ => {}
        }
        Ok(())
    }

    /// How many values a block takes and gives.
    fn values(&self, ty: BlockType) -> usize {
        match ty {
            BlockType::FuncType(ty) => {
                let Arity { params, results } = self.arity(ty);
                params + results
            }
            // What a compiler follows at no further cost.
            BlockType::Empty | BlockType::Type(_) => 0,
        }
    }
}

impl Flow {
    fn enter(&mut self, values: usize, is_loop: bool) {
        self.blocks += 1;
        self.variables = self.variables.saturating_add(values);
        self.open.push(is_loop);
    }

    fn leave(&mut self) {
        // The last of a function ends no block.
        if self.open.pop() == Some(true) {
            self.loop_depth -= 1;
        }
    }
}
