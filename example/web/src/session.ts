/**
 * The session of this browser: all tabs have the same user and share one connection. Owns the token: its storage and
 * its renewal.
 */

export interface Session {
  readonly user: string
  readonly tenant: string
  /**
   * Returns the token for a request; with `refresh` a new one, because the server rejected the last. Concurrent calls
   * share one request. Rejects after the user signed out in any tab.
   */
  token(refresh: boolean): Promise<string>
}

interface Stored {
  readonly user: string
  readonly tenant: string
  readonly token: string
}

const KEY = 'inbox.session'

/** The stored session, from before a reload or from another tab. */
export function restoreSession(): Session | undefined {
  const stored = read()
  return stored && sessionOf(stored)
}

/** @throws Error with a message for the user */
export async function signIn(user: string, tenant: string): Promise<Session> {
  const stored = { user, tenant, token: await requestToken(user, tenant) }
  localStorage.setItem(KEY, JSON.stringify(stored))
  return sessionOf(stored)
}

/** Signs out in all tabs immediately, then revokes the token on the server. */
export async function signOut(): Promise<void> {
  const stored = read()
  localStorage.removeItem(KEY)
  if (stored === undefined) return
  // `keepalive`: the request is sent even if the page is closed.
  const init = { method: 'POST', keepalive: true, headers: { Authorization: `Bearer ${stored.token}` } }
  await fetch('/api/v1/auth/logout', init)
}

/** Calls `listener` when another tab signs in another user, or signs out. @returns removes the listener */
export function onSessionChange(session: Session | undefined, listener: (session?: Session) => void): () => void {
  const onStorage = ({ key }: StorageEvent): void => {
    if (key !== KEY && key !== null) return
    const stored = read()
    if (stored?.user !== session?.user || stored?.tenant !== session?.tenant) listener(stored && sessionOf(stored))
  }
  addEventListener('storage', onStorage)
  return () => removeEventListener('storage', onStorage)
}

function sessionOf({ user, tenant, token: first }: Stored): Session {
  let last = first
  let renewing: Promise<string> | undefined

  /** The stored token. @throws Error if another user, or no user, is signed in */
  function current(): string {
    const stored = read()
    if (stored?.user !== user || stored.tenant !== tenant) throw new Error('Signed out')
    return stored.token
  }

  async function renew(): Promise<string> {
    const token = await requestToken(user, tenant)
    // If the user signed out meanwhile, the new token must not sign in again.
    current()
    localStorage.setItem(KEY, JSON.stringify({ user, tenant, token }))
    return token
  }

  return {
    user,
    tenant,
    async token(refresh) {
      const stored = current()
      // If another tab renewed the token, uses that one.
      if (!refresh || stored !== last) {
        last = stored
        return stored
      }
      renewing ??= renew().finally(() => {
        renewing = undefined
      })
      last = await renewing
      return last
    },
  }
}

function read(): Stored | undefined {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? 'null') as Partial<Stored> | null
    const { user, tenant, token } = stored ?? {}
    return user && tenant && token ? { user, tenant, token } : undefined
  } catch {
    // The entry is invalid, or storage is disabled: the user must sign in.
    return undefined
  }
}

async function requestToken(user: string, tenant: string): Promise<string> {
  const response = await fetch('/api/v1/auth/login', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ user, tenant }),
  })
  const body = (await response.json().catch(() => ({}))) as { readonly token?: string; readonly detail?: string }
  if (response.ok && body.token !== undefined) return body.token
  throw new Error(body.detail ?? `The server answered ${response.status}`)
}
