import { callable, checkArgument } from "../arguments.js";
import { CheckingBackend } from "../backend/checking.js";
import { NonFiniteError, UsageError } from "../errors.js";
import { realizeNow } from "./realize.js";
import { currentBackend, withBackend } from "./runtime.js";
import { tensorsOf } from "./tree.js";

/**
 * The first NaN or infinity that f makes of its arguments, as the error that `init({ debug: "non-finite" })` would throw: its message says
 * which operation made it of what, at which line of the program and, in a gradient, by which rule; `origin` has the same as fields.
 * Undefined where all values are finite. Every operation of f is run and looked at by itself, inside of compiled functions, gradients,
 * loops and calls too, on the current backend. Throws UsageError where f is async.
 *
 *   const found = await findNonFinite(grad(loss), params);
 *   if (found) console.log(found.message);
 */
export async function findNonFinite<A extends readonly unknown[]>(
  f: (...args: A) => unknown,
  ...args: A
): Promise<NonFiniteError | undefined> {
  checkArgument("findNonFinite", "f", f, callable);
  const current = currentBackend();
  const backend = new CheckingBackend(current.underlying ?? current, "non-finite");
  try {
    const value = withBackend(backend, () => {
      const found: unknown = f(...args);
      if (!(found instanceof Promise)) realizeNow(tensorsOf(found, "findNonFinite: the value").map(({ tensor }) => tensor));
      return found;
    });
    if (value instanceof Promise) {
      value.catch(() => undefined);
      throw new UsageError("findNonFinite: f is async", {
        hint: 'return tensors, or look at a whole program with init({ debug: "non-finite" })',
      });
    }
    await backend.sync();
    return undefined;
  } catch (error) {
    if (error instanceof NonFiniteError && error.origin !== undefined) return error;
    throw error;
  } finally {
    backend.forget();
  }
}
