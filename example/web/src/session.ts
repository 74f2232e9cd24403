/** Who is signed in, in this tab. Owns the token: where it is kept, and how a new one is had when it has run out. */

export interface Session {
  readonly user: string
  readonly tenant: string
  /**
   * The token for a request; with `refresh` a new one, for the server no longer takes the old. Callers that ask at the
   * same time share one request.
   */
  token(refresh: boolean): Promise<string>
}

interface Stored {
  readonly user: string
  readonly tenant: string
  readonly token: string
}

const KEY = 'inbox.session'

/** The tab's session from before a reload. */
export function restoreSession(): Session | undefined {
  try {
    const stored = JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Partial<Stored> | null
    const { user, tenant, token } = stored ?? {}
    return user && tenant && token ? sessionOf({ user, tenant, token }) : undefined
  } catch {
    // Not ours, or storage is off: sign in anew.
    return undefined
  }
}

/** @throws Error with a text for the user */
export async function signIn(user: string, tenant: string): Promise<Session> {
  const token = await requestToken(user, tenant)
  store({ user, tenant, token })
  return sessionOf({ user, tenant, token })
}

export function signOut(): void {
  sessionStorage.removeItem(KEY)
}

function sessionOf({ user, tenant, token: first }: Stored): Session {
  let token = first
  let refreshing: Promise<string> | undefined
  async function renew(): Promise<string> {
    token = await requestToken(user, tenant)
    // Signed out meanwhile: what was asked for must not sign in again.
    if (sessionStorage.getItem(KEY) !== null) store({ user, tenant, token })
    return token
  }
  return {
    user,
    tenant,
    async token(refresh) {
      if (!refresh) return token
      refreshing ??= renew().finally(() => {
        refreshing = undefined
      })
      return refreshing
    },
  }
}

function store(session: Stored): void {
  sessionStorage.setItem(KEY, JSON.stringify(session))
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
