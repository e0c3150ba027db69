"""The application: start page, window, menus, job queue, settings (Qt). Nothing imports this but `opsin`."""
