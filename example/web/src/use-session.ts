/** The session state of a page that needs a user. */
import { useEffect, useState } from 'react'
import { onSessionChange, restoreSession, type Session, signIn, signOut } from './session.js'

export interface SessionState {
  readonly session: Session | undefined
  readonly busy: boolean
  /** The error of the last sign-in. */
  readonly error: string | undefined
  enter(user: string, tenant: string): void
  leave(): void
}

/** The session of the browser, or that of the page's link: `?user=dana&tenant=acme` signs in directly. */
export function useSession(): SessionState {
  const [session, setSession] = useState<Session | undefined>(() => (linkedUser() ? undefined : restoreSession()))
  const [busy, setBusy] = useState(() => linkedUser() !== undefined)
  const [error, setError] = useState<string>()

  function enter(user: string, tenant: string): void {
    setBusy(true)
    setError(undefined)
    signIn(user, tenant)
      .then(setSession, (reason: unknown) => setError(reason instanceof Error ? reason.message : String(reason)))
      .finally(() => setBusy(false))
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: runs once, for the link that opened the page
  useEffect(() => {
    const linked = linkedUser()
    if (linked === undefined) return
    // Removes the name from the URL, so that a reload or a bookmark does not sign in again.
    history.replaceState(null, '', location.pathname + location.hash)
    enter(linked.user, linked.tenant)
  }, [])

  useEffect(() => onSessionChange(session, setSession), [session])

  function leave(): void {
    signOut().catch((reason: unknown) => {
      // Not shown to the user: the token expires anyway.
      console.warn('The token could not be revoked on the server; it stays valid until it expires', reason)
    })
    history.replaceState(null, '', location.pathname)
    setSession(undefined)
  }

  return { session, busy, error, enter, leave }
}

function linkedUser(): { readonly user: string; readonly tenant: string } | undefined {
  const query = new URLSearchParams(location.search)
  const user = query.get('user')
  return user ? { user, tenant: query.get('tenant') ?? 'acme' } : undefined
}
