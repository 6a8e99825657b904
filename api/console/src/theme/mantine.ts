// Mantine as this console uses it: dense, with our accent, and the colours of states as CSS variables.

import { type CSSVariablesResolver, type MantineColorsTuple, createTheme } from '@mantine/core'
import { t } from '../i18n'
import { accent, families, glyph, icons, mask } from './states'

const blue: MantineColorsTuple = [
  '#E8EDFA', '#C9D6F5', '#A6BBEF', '#7FA7FA', '#5B8DF6', '#3A6BE6', '#1F54DA', '#1448D1', '#103BAD', '#0C2E88',
]

/** Made anew for another language: what closes a dialog has a name. */
export const makeTheme = () =>
  createTheme({
    primaryColor: 'blue',
    primaryShade: { light: 7, dark: 6 },
    colors: { blue },
    fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif',
    fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
    fontSizes: { xs: '12px', sm: '13px', md: '14px', lg: '16px', xl: '20px' },
    lineHeights: { xs: '16px', sm: '18px', md: '20px', lg: '24px', xl: '28px' },
    defaultRadius: 4,
    cursorType: 'pointer',
    focusRing: 'auto',
    respectReducedMotion: true,
    autoContrast: true,
    components: {
      Button: { defaultProps: { size: 'xs' } },
      TextInput: { defaultProps: { size: 'xs' } },
      PasswordInput: { defaultProps: { size: 'sm' } },
      NumberInput: { defaultProps: { size: 'xs' } },
      Select: { defaultProps: { size: 'xs' } },
      Textarea: { defaultProps: { size: 'xs' } },
      Checkbox: { defaultProps: { size: 'xs' } },
      Switch: { defaultProps: { size: 'xs' } },
      SegmentedControl: { defaultProps: { size: 'xs' } },
      ActionIcon: { defaultProps: { size: 28, variant: 'subtle', color: 'gray' } },
      Modal: { defaultProps: { centered: true, transitionProps: { duration: 80 }, closeButtonProps: { 'aria-label': t('action.close') } } },
      Drawer: { defaultProps: { position: 'right', transitionProps: { duration: 80 }, closeButtonProps: { 'aria-label': t('action.close') } } },
    },
  })

export const variables: CSSVariablesResolver = () => {
  const of = (scheme: 'light' | 'dark') => {
    const all: Record<string, string> = { '--glyph': glyph[scheme], '--accent': accent[scheme] }
    for (const [name, family] of Object.entries(families)) {
      const { fill, ink, tint } = family[scheme]
      all[`--${name}-fill`] = fill
      all[`--${name}-ink`] = ink
      all[`--${name}-tint`] = tint
    }
    return all
  }
  const icon = Object.fromEntries(
    (Object.keys(icons) as (keyof typeof icons)[]).map((name) => [`--icon-${name}`, mask(name)]),
  )
  return {
    variables: icon,
    light: {
      ...of('light'),
      '--mantine-color-body': '#FFFFFF',
      '--line': '#DFE2E6',
      '--panel': '#F7F8F9',
      '--soft': '#555C66',
      '--mantine-color-dimmed': '#555C66',
      '--mantine-color-placeholder': '#6B7280',
      '--mantine-color-anchor': accent.light,
    },
    dark: {
      ...of('dark'),
      '--mantine-color-body': '#1A1B1E',
      '--line': '#34373D',
      '--panel': '#202226',
      '--soft': '#AEB5C0',
      '--mantine-color-dimmed': '#AEB5C0',
      '--mantine-color-placeholder': '#9AA1AC',
      '--mantine-color-anchor': accent.dark,
    },
  }
}
