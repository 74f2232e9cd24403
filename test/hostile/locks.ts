/** `navigator.locks` for Node, which has none before version 24: exclusive locks within this process. */

type Hold = () => Promise<unknown>

class ExclusiveLocks {
  readonly #tails = new Map<string, Promise<unknown>>()

  request(name: string, { signal }: { readonly signal: AbortSignal }, hold: Hold): Promise<unknown> {
    const before = this.#tails.get(name) ?? Promise.resolve()
    const held = before.then(() => {
      if (signal.aborted) throw signal.reason
      return hold()
    })
    this.#tails.set(
      name,
      held.catch(() => undefined),
    )
    return held
  }
}

/** @returns restores the former `navigator` */
export function exclusiveLocks(): () => void {
  const former = Object.getOwnPropertyDescriptor(globalThis, 'navigator')
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { locks: new ExclusiveLocks() } })
  return () => {
    if (former === undefined) Reflect.deleteProperty(globalThis, 'navigator')
    else Object.defineProperty(globalThis, 'navigator', former)
  }
}
