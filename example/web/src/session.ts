/**
 * Who is signed in, in this browser: all its tabs are the same user, and share one connection. Owns the token: where it is
 * kept, and how a new one is had when it has run out.
 */

export interface Session {
  readonly user: string
  readonly tenant: string
  /**
   * The token for a request; with `refresh` a new one, for the server no longer takes the last. Callers that ask at the
   * same time share one request. Rejects once the user has signed out, in whichever tab.
   */
  token(refresh: boolean): Promise<string>
}

interface Stored {
  readonly user: string
  readonly tenant: string
  readonly token: string
}

const KEY = 'inbox.session'

/** From before a reload, or from another tab. */
export function restoreSession(): Session | undefined {
  const stored = read()
  return stored && sessionOf(stored)
}

/** @throws Error with a text for the user */
export async function signIn(user: string, tenant: string): Promise<Session> {
  const stored = { user, tenant, token: await requestToken(user, tenant) }
  localStorage.setItem(KEY, JSON.stringify(stored))
  return sessionOf(stored)
}

/** Here and in the other tabs at once; then the server is told to take the token no more. */
export async function signOut(): Promise<void> {
  const stored = read()
  localStorage.removeItem(KEY)
  if (stored === undefined) return
  // Also when the page is closed right after.
  const init = { method: 'POST', keepalive: true, headers: { Authorization: `Bearer ${stored.token}` } }
  await fetch('/api/v1/auth/logout', init)
}

/** Tells of another user, or none, after something was done in another tab. @returns the way to stop */
export function onOtherSession(session: Session | undefined, listener: (session?: Session) => void): () => void {
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

  /** What is stored, if it is still this user's. */
  function current(): string {
    const stored = read()
    if (stored?.user !== user || stored.tenant !== tenant) throw new Error('Signed out')
    return stored.token
  }

  async function renew(): Promise<string> {
    const token = await requestToken(user, tenant)
    // Signed out meanwhile: what was asked for must not sign in again.
    current()
    localStorage.setItem(KEY, JSON.stringify({ user, tenant, token }))
    return token
  }

  return {
    user,
    tenant,
    async token(refresh) {
      const stored = current()
      // Where another tab has renewed it, its token is as good.
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
    // Not ours, or storage is off: sign in anew.
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
